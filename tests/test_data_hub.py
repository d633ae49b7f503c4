"""FineWeb-Edu from the Hub: what is fetched, what is checked, and what a broken network may not spoil."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from data_helpers import content, texts, tokenizer
from hub_server import COMMIT, REPO, Hub
from training import reserved_port, until

from neogpt.cli.main import main
from neogpt.config import DataConfig
from neogpt.data.prepare import prepare
from neogpt.data.shards import read_info
from neogpt.data.sources import _hub_stream, fineweb_edu
from neogpt.errors import DataError
from neogpt.paths import local_data

FILES = [f"sample/10BT/{i:03d}_00000.parquet" for i in range(3)]
SETTINGS = DataConfig(val_fraction=0.1, shard_tokens=20_000)
CONFIG = fineweb_edu.FineWebEdu(revision=COMMIT)
Capture = pytest.CaptureFixture[str]


def rows(count: int) -> list[str]:
    """The beginnings of real articles, or made-up texts where there are none."""
    if not (folder := local_data()):
        return texts(count)
    file = pyarrow.parquet.ParquetFile(folder / "pretrain" / "enwiki-00.parquet")
    batch = next(file.iter_batches(count, columns=["text"]))
    return [text[:600] for text in batch.column(0).to_pylist()]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out like the data set, three small files in sample/10BT."""
    folder, found = tmp_path_factory.mktemp("fineweb"), rows(300)
    for i, name in enumerate([*FILES, "sample/100BT/000_00000.parquet", "data/CC-MAIN-2024-10/a.parquet"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        table = pyarrow.table({"id": list(range(60)), "text": found[i * 60 : (i + 1) * 60]})
        pyarrow.parquet.write_table(table, folder / name, row_group_size=20)
    (folder / "README.md").write_text("a card")
    return folder


@pytest.fixture(scope="session")
def expected(files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The shards that the same files give from a folder."""
    config = fineweb_edu.FineWebEdu(path=str(files / "sample" / "10BT"))
    return shards(prepare(config, SETTINGS, tokenizer(), tmp_path_factory.mktemp("out") / "x"))


def shards(folder: Path) -> dict[str, bytes]:
    """Everything but what tells where the files came from."""
    return {
        name: data for name, data in content(folder).items() if name not in ("dataset.json", "MANIFEST.json")
    }


@pytest.fixture
def hub(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that this process and those that it starts talk to."""
    published = {name: data for name, data in content(files).items() if name.endswith(".parquet")}
    with Hub(published) as server:
        use(server.url, tmp_path / "hf", monkeypatch)
        yield server


def use(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user says in the environment; huggingface_hub reads it when it is imported, which it has been."""
    from huggingface_hub import constants

    values = {"HF_ENDPOINT": url, "HF_HOME": home, "HF_HUB_OFFLINE": 0, "NEOGPT_HOME": home / "neogpt"}
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(_hub_stream, "_PAUSE_S", 0.0)
    forget()


def forget() -> None:
    """As in a new process."""
    _hub_stream.commit.cache_clear()
    _hub_stream.listing.cache_clear()


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    forget()


def make(folder: Path, config: fineweb_edu.FineWebEdu = CONFIG, **options: object) -> Path:
    return prepare(config, SETTINGS, tokenizer(), folder, **options)  # type: ignore[arg-type]


def fetched(name: str = FILES[0], config: fineweb_edu.FineWebEdu = CONFIG) -> bytes:
    """A file as it lies in the cache after it was fetched."""
    config.fetch(name)
    return fineweb_edu._local(config, name).read_bytes()


def test_without_symbolic_links_the_cache_has_hard_ones(
    hub: Hub, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows lets few make the others. The file lies there once, and goes with both its names."""

    def refuse(*_: object) -> None:
        raise OSError(22, "a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert fetched() == (files / FILES[0]).read_bytes()
    place = fineweb_edu._local(CONFIG, FILES[0])
    assert not place.is_symlink()
    assert place.stat().st_nlink == 2
    CONFIG.drop(FILES[0])
    assert not any(path.is_file() for path in place.parents[3].rglob("*.parquet"))
    assert not any((place.parents[4] / "blobs").iterdir())


# ---------------------------------------------------------------- whole runs


def test_the_hub_gives_the_same_shards_as_a_folder(
    hub: Hub, tmp_path: Path, expected: dict[str, bytes], capsys: Capture
) -> None:
    tokenizer().save(tmp_path / "tokenizer")
    hub.faults[FILES[1]] = ["cut"]
    args = ["--name", "sample-10BT", "--source.revision", "main", "--tokenizer", str(tmp_path / "tokenizer")]
    args += [
        "--val-fraction",
        "0.1",
        "--shard-tokens",
        "20000",
        "--workers",
        "2",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(["data", "prepare", "fineweb-edu", *args]) == 0
    assert shards(tmp_path / "out") == expected
    assert "done: " in capsys.readouterr().out.splitlines()[-1]
    info = read_info(tmp_path / "out")
    assert info["settings"]["options"]["revision"] == COMMIT
    assert [file["sha256"] for file in info["inputs"]] == [hub.sums[name] for name in FILES]
    assert hub.bodies() == Counter({FILES[0]: 1, FILES[1]: 2, FILES[2]: 1})


def test_a_dropped_file_is_gone_when_its_shards_are_there(
    hub: Hub, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    assert shards(make(tmp_path / "out", keep_files=False)) == expected
    assert not list((tmp_path / "hf" / "hub").rglob("*.parquet"))
    assert not list((tmp_path / "hf" / "hub").glob("*/blobs/*"))
    make(tmp_path / "out", keep_files=False)  # finished: needs no file again
    assert set(hub.bodies().values()) == {1}


def test_killed_in_the_middle_of_a_download_and_rerun(
    hub: Hub, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    tokenizer().save(tmp_path / "tokenizer")
    out = tmp_path / "out"
    args = ["--revision", COMMIT, "--tokenizer", str(tmp_path / "tokenizer"), "--val-fraction", "0.1"]
    args += ["--shard-tokens", "20000", "--workers", "1", "--out", str(out)]
    hub.faults[FILES[2]] = ["hang"]
    command = [sys.executable, "-m", "neogpt", "data", "prepare", "fineweb-edu", *args]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    assert hub.reached.wait(200)
    store = tmp_path / "hf" / "hub"
    until(lambda: len(list(store.glob("*/snapshots/**/*.parquet"))) == 2)
    until(lambda: any(path.stat().st_size for path in store.glob("*/blobs/*.incomplete")))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert shards(make(out)) == expected
    assert hub.bodies() == Counter({FILES[0]: 1, FILES[1]: 1, FILES[2]: 2})
    assert int(hub.ranges(FILES[2])[1].removeprefix("bytes=").removesuffix("-")) > 0  # it went on


def test_slices_of_a_file_are_tasks_of_their_own(
    hub: Hub, files: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from neogpt.data.sources import parquet

    smallest = min((files / name).stat().st_size for name in FILES)
    monkeypatch.setattr(parquet, "PART_BYTES", smallest // 3)
    assert len(CONFIG.parts()) > 6
    assert shards(make(tmp_path / "out")) == expected


# ---------------------------------------------------------------- a network that is not what it should be


@pytest.mark.parametrize("fault", ["cut", "half", "no ranges"])
def test_a_body_that_breaks_off_is_continued(hub: Hub, fault: str) -> None:
    hub.faults[FILES[0]] = ["cut", fault, "cut"]
    assert fetched() == hub.files[FILES[0]]
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) for r in hub.ranges(FILES[0])]
    assert starts[0] == 0
    assert len(starts) == (2 if fault == "no ranges" else 4)
    assert all(a < b for a, b in itertools.pairwise(starts))


def test_a_busy_server_is_asked_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    hub.busy, hub.faults[FILES[0]] = 3, ["503", "503"]
    assert fetched(config=fineweb_edu.FineWebEdu(revision="main")) == hub.files[FILES[0]]


def test_a_server_that_stays_busy_is_an_error_that_keeps_what_came(hub: Hub, tmp_path: Path) -> None:
    hub.faults[FILES[0]] = ["cut"] + ["503"] * 20
    with pytest.raises(DataError, match=rf"{FILES[0]} cannot be had .*503") as error:
        fetched()
    assert "--source.path" in str(error.value)
    partial = next((tmp_path / "hf" / "hub").rglob("*.incomplete"))
    assert partial.stat().st_size == len(hub.files[FILES[0]]) // 2
    hub.faults.clear()
    assert fetched() == hub.files[FILES[0]]


@pytest.mark.parametrize("fault", ["404", "storage 404"])
def test_a_listed_file_whose_body_is_not_there(hub: Hub, tmp_path: Path, capsys: Capture, fault: str) -> None:
    """The Hub says it of a file (its own header), or its storage does (none): named, asked for once, no traceback."""
    hub.faults[FILES[1]] = [fault] * 3
    with pytest.raises(DataError, match=rf"no file {FILES[1]} \(404\), which it lists") as error:
        fetched(FILES[1])
    assert "--source.revision" in str(error.value)
    asked = [path for method, path, _ in hub.asked if method == "GET" and path.endswith(FILES[1])]
    assert len([path for path in asked if "/resolve/" in path]) == 1
    tokenizer().save(tmp_path / "tokenizer")
    args = ["--revision", COMMIT, "--tokenizer", str(tmp_path / "tokenizer"), "--out", str(tmp_path / "out")]
    assert main(["data", "prepare", "fineweb-edu", *args, "--workers", "1"]) == 3
    said_there = capsys.readouterr().err
    assert FILES[1] in said_there
    assert "Traceback" not in said_there
    assert not (tmp_path / "out").exists()
    hub.faults.clear()
    assert fetched(FILES[1]) == hub.files[FILES[1]]


def test_no_server_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # huggingface_hub's own patience
    with reserved_port() as nobody:
        use(f"http://127.0.0.1:{nobody.getsockname()[1]}", tmp_path, monkeypatch)
        with pytest.raises(DataError, match=rf"{REPO} cannot be had from the Hub"):
            CONFIG.parts()


def test_a_file_with_another_hash_is_named_and_never_used(hub: Hub, tmp_path: Path) -> None:
    hub.faults[FILES[0]] = ["wrong", "wrong"]
    with pytest.raises(DataError, match=rf"{FILES[0]} .* was received with sha256 .* thrown away") as error:
        fetched()
    assert hub.sums[FILES[0]] in str(error.value)
    with pytest.raises(DataError, match="thrown away"):
        make(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "hf" / "hub").rglob("*.incomplete"))
    assert fetched() == hub.files[FILES[0]]


def test_a_damaged_file_in_the_cache_is_fetched_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched()
    path = fineweb_edu._local(CONFIG, FILES[0])
    path.write_bytes(bytes(path.stat().st_size))
    assert fetched() == hub.files[FILES[0]]
    path.write_bytes(bytes(path.stat().st_size))
    offline(monkeypatch)
    with pytest.raises(DataError, match="is damaged: its sha256 differs"):
        fetched()


def test_what_is_not_there_is_told_what_is(hub: Hub) -> None:
    with pytest.raises(DataError, match="no parquet files in sample/11BT") as error:
        fineweb_edu.FineWebEdu(name="sample-11BT", revision=COMMIT).parts()
    assert "sample/100BT, sample/10BT" in str(error.value)
    with pytest.raises(DataError, match="data/CC-MAIN-2024-10"):
        fineweb_edu.FineWebEdu(name="CC-MAIN-2013-20", revision=COMMIT).parts()
    for wrong in ({"repo": "nobody/nothing"}, {"revision": "no-such-branch"}):
        with pytest.raises(DataError, match=r"404") as error:
            fineweb_edu.FineWebEdu(**{"revision": "main", **wrong}).parts()
        assert len([1 for _, path, _ in hub.asked if "no" in path.rpartition("/")[2]]) <= 2  # no is no
    assert fineweb_edu.FineWebEdu(name="CC-MAIN-2024-10", revision=COMMIT).parts()


def test_the_token_is_sent_and_its_want_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_" + "x" * 34
    with pytest.raises(DataError, match="401") as error:
        fetched()
    assert "HF_TOKEN" in str(error.value)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    forget()
    assert fetched() == hub.files[FILES[0]]
    assert not any("authorization" in headers for _, path, headers in hub.asked if "/storage/" in path)


# ---------------------------------------------------------------- offline


def test_offline_with_everything_in_the_cache(
    hub: Hub, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = fineweb_edu.FineWebEdu(revision="main")
    for name in FILES:
        fetched(name, config)
    before = len(hub.asked)
    offline(monkeypatch)
    assert shards(make(tmp_path / "out", config)) == expected
    assert len(hub.asked) == before


def test_offline_without(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch)
    for config in (CONFIG, fineweb_edu.FineWebEdu(revision="main")):
        with pytest.raises(DataError, match="offline") as error:
            config.parts()
        assert "--source.path" in str(error.value)
    assert not hub.asked


def test_offline_with_a_file_missing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched()
    offline(monkeypatch)
    assert fetched()
    with pytest.raises(DataError, match=rf"{FILES[1]} of {REPO} is not in the cache"):
        fetched(FILES[1])


def test_what_huggingface_hub_fetched_is_not_fetched_again(hub: Hub) -> None:
    """Its own download, by its own code, into the same cache, and the other way round."""
    from huggingface_hub import hf_hub_download

    hf_hub_download(REPO, FILES[0], repo_type="dataset", revision=COMMIT, endpoint=hub.url)
    assert fetched() == hub.files[FILES[0]]
    fetched(FILES[1])
    path = hf_hub_download(REPO, FILES[1], repo_type="dataset", revision=COMMIT, endpoint=hub.url)
    assert Path(path).read_bytes() == hub.files[FILES[1]]
    assert hub.bodies() == Counter({FILES[0]: 1, FILES[1]: 1})
