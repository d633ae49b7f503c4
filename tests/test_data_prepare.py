"""Preparation: the same bytes whatever happens on the way, and never another data set's."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import lzma
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data_helpers import content, texts, tokenizer, write_jsonl
from training import until

from neogpt import atomic
from neogpt.config import DataConfig
from neogpt.data import tokenize
from neogpt.data import workers as processes
from neogpt.data.build_tokenizer import tokenizer_for
from neogpt.data.prepare import prepare
from neogpt.data.shard_file import ShardWriter
from neogpt.data.shards import TokenData
from neogpt.data.sources import jsonl, text
from neogpt.data.verify import verify
from neogpt.errors import ConfigError, DataError
from neogpt.paths import cache_dir

SETTINGS = DataConfig(val_fraction=0.1, shard_tokens=2500)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six files of 300 texts in all, some of the texts equal."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = texts(280) + texts(20)
    for i in range(6):
        write_jsonl(folder / f"part-{i:02d}.jsonl", rows[i * 50 : (i + 1) * 50])
    return folder


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file a task of its own."""
    monkeypatch.setattr(tokenize, "_GROUP_BYTES", 1)


def make(corpus: Path, folder: Path | None, settings: DataConfig = SETTINGS, workers: int = 1) -> Path:
    return prepare(jsonl.Jsonl(path=str(corpus)), settings, tokenizer(), folder, workers)


@pytest.fixture(scope="session")
def expected(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed preparation writes (all files in one task)."""
    return content(make(corpus, tmp_path_factory.mktemp("expected") / "out"))


def documents(folder: Path, split: str) -> list[tuple[int, ...]]:
    data = TokenData(folder, split)
    return [tuple(data.document(i).tolist()) for i in range(data.n_documents)]


# ---------------------------------------------------------------- what is prepared


def test_splits_and_documents_agree_with_a_reference_by_hand(corpus: Path, tmp_path: Path) -> None:
    folder, tok = make(corpus, tmp_path / "out"), tokenizer()
    reference: dict[str, Counter[tuple[int, ...]]] = {"train": Counter(), "val": Counter()}
    for row in texts(280) + texts(20):
        number = int(hashlib.sha256(row.encode()).hexdigest()[:16], 16) / 2**64
        reference["val" if number < 0.1 else "train"][(tok.eot_id, *tok.encode(row))] += 1
    for split in ("train", "val"):
        assert Counter(documents(folder, split)) == reference[split]
    assert not set(documents(folder, "train")) & set(documents(folder, "val"))
    assert verify(folder)["train"]["shards"] > 2


def test_documents_are_shuffled_through_all_files(corpus: Path, tmp_path: Path) -> None:
    folder, tok = make(corpus, tmp_path / "out"), tokenizer()
    place = {(tok.eot_id, *tok.encode(row)): i for i, row in enumerate(texts(280))}
    order = np.array([place[row] for row in documents(folder, "train")])
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.2
    assert (np.diff(order) == 1).sum() < 8
    other = make(corpus, tmp_path / "other", dataclasses.replace(SETTINGS, shuffle_seed=1))
    assert documents(other, "train") != documents(folder, "train")
    assert sorted(documents(other, "train")) == sorted(documents(folder, "train"))
    assert documents(other, "val") != documents(folder, "val")


def test_the_split_is_the_same_for_any_seed_and_shard_size(corpus: Path, tmp_path: Path) -> None:
    held = [
        sorted(documents(make(corpus, tmp_path / str(i), settings), "val"))
        for i, settings in enumerate([SETTINGS, DataConfig(val_fraction=0.1, shuffle_seed=5)])
    ]
    assert held[0] == held[1]


def test_end_of_text_written_in_a_text_is_text(tmp_path: Path) -> None:
    rows = [f"{i} <|endoftext|> in the middle" for i in range(40)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    folder = make(tmp_path, tmp_path / "out")
    counts = verify(folder)
    assert counts["train"]["documents"] + counts["val"]["documents"] == 40
    text_back = tokenizer().decode(TokenData(folder).document(0)[1:].tolist())
    assert "<|endoftext|> in the middle" in text_back


# ---------------------------------------------------------------- the same bytes


def test_bytes_do_not_depend_on_workers_or_on_the_cutting_into_tasks(
    corpus: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, group_bytes, workers in (("a", 1, 1), ("b", 9000, 2)):
        monkeypatch.setattr(tokenize, "_GROUP_BYTES", group_bytes)
        assert content(make(corpus, tmp_path / name, workers=workers)) == expected


@pytest.mark.usefixtures("small_tasks")
def test_bytes_do_not_depend_on_the_order_in_which_tasks_finish(
    corpus: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = processes.run

    def shuffled(tasks: list[tokenize.Task], *rest: object) -> None:
        run(random.Random(3).sample(tasks, len(tasks)), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(processes, "run", shuffled)
    assert content(make(corpus, tmp_path / "out")) == expected


SCRIPT = textwrap.dedent("""
    import sys
    from pathlib import Path
    from neogpt.config import DataConfig
    from neogpt.data import tokenize
    from neogpt.data.prepare import prepare
    from neogpt.data.sources import jsonl
    from neogpt.tokenizer import Tokenizer

    if __name__ == "__main__":
        tokenize._GROUP_BYTES = 1
        corpus, out, tokenizer, workers = sys.argv[1:]
        settings = DataConfig(val_fraction=0.1, shard_tokens=2500)
        prepare(jsonl.Jsonl(path=corpus), settings, Tokenizer.load(tokenizer), Path(out), int(workers))
""")


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A command that prepares the corpus in a process of its own: [..., CORPUS, OUT, TOKENIZER, WORKERS]."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "run.py").write_text(SCRIPT)
    tokenizer().save(folder / "tokenizer")
    return [sys.executable, str(folder / "run.py"), str(folder / "tokenizer")]


def command(script: list[str], corpus: Path, out: Path, workers: int = 1) -> list[str]:
    return [*script[:2], str(corpus), str(out), script[2], str(workers)]


def count_tasks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Records the folder of each task that is tokenized from now on."""
    made: list[Path] = []
    original = tokenize.tokenize

    def counted(task: tokenize.Task, tok: object) -> None:
        made.append(task.folder)
        original(task, tok)  # type: ignore[arg-type]

    monkeypatch.setattr(tokenize, "tokenize", counted)
    return made


FAILPOINTS = [
    *(f"data.part.{instant}" for instant in ("filled", "renamed")),
    *(f"data.shuffle.{split}" for split in ("train",)),
    *(f"data.{instant}" for instant in ("manifest", "renamed")),
]


@pytest.mark.parametrize("failpoint", FAILPOINTS)
@pytest.mark.usefixtures("small_tasks")
def test_killed_at_an_instant_and_rerun_gives_the_same_bytes(
    corpus: Path,
    tmp_path: Path,
    expected: dict[str, bytes],
    script: list[str],
    failpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    environment = {**os.environ, "NEOGPT_FAILPOINT": failpoint}
    dead = subprocess.run(command(script, corpus, out), env=environment, capture_output=True, check=False)
    assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()
    assert out.exists() == (failpoint == "data.renamed")
    made = count_tasks(monkeypatch)
    assert content(make(corpus, out)) == expected
    left = {"data.part.renamed": 5}.get(failpoint, 6 if failpoint.startswith("data.part") else 0)
    assert len(made) == left  # finished parts are not made again
    assert {p.name for p in tmp_path.iterdir()} == {"out", "out.lock"}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.usefixtures("small_tasks")
def test_killed_at_random_instants_and_rerun_gives_the_same_bytes(
    corpus: Path, tmp_path: Path, expected: dict[str, bytes], script: list[str], workers: int
) -> None:
    out, dice = tmp_path / "out", random.Random(workers)
    for _ in range(3):
        process = subprocess.Popen(command(script, corpus, out, workers), start_new_session=True)
        time.sleep(dice.uniform(0.3, 0.9))
        process.kill()
        process.wait()
        assert not out.exists() or content(out) == expected
    assert content(make(corpus, out)) == expected
    assert {p.name for p in tmp_path.iterdir()} == {"out", "out.lock"}


def test_workers_die_with_a_killed_parent(corpus: Path, tmp_path: Path, script: list[str]) -> None:
    process = subprocess.Popen(command(script, corpus, tmp_path / "out", workers=2), start_new_session=True)
    until(lambda: bool(_group(process.pid) - {process.pid}))
    process.kill()
    process.wait()
    until(lambda: not _group(process.pid))


def test_the_workers_of_a_killed_preparation_are_waited_for(tmp_path: Path) -> None:
    """Two of them at work: nothing is begun in their folder before both have ended, and nothing is left of them."""
    code = (
        "import pathlib, sys; from neogpt.data import workers\n"
        "with workers.at_work(pathlib.Path(sys.argv[1])): print('here', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    orphans = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for orphan in orphans:
        assert orphan.stdout
        assert orphan.stdout.readline() == b"here\n"
    waiting = threading.Thread(target=processes.wait_for_orphans, args=(tmp_path,))
    waiting.start()
    for orphan in orphans:
        waiting.join(0.3)
        assert waiting.is_alive()
        orphan.kill()
        orphan.communicate(timeout=150)
    waiting.join(150)
    assert not waiting.is_alive()
    assert list(tmp_path.iterdir()) == []


def test_nobody_is_at_work_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    """A worker that comes late must not make it again."""
    with pytest.raises(FileNotFoundError), processes.at_work(tmp_path / "gone"):
        pass
    assert list(tmp_path.iterdir()) == []


def _group(leader: int) -> set[int]:
    """The living processes of a process group."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found


def test_two_preparations_at_once_give_one_data_set(
    corpus: Path, tmp_path: Path, expected: dict[str, bytes], script: list[str]
) -> None:
    out = tmp_path / "out"
    both = [subprocess.Popen(command(script, corpus, out)) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert content(out) == expected


def test_a_second_call_makes_nothing(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(corpus, None)
    times = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    made = count_tasks(monkeypatch)
    assert make(corpus, None) == folder
    assert not made
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == times


def test_a_data_set_in_the_cache_that_lost_a_file_is_made_again(
    corpus: Path, expected: dict[str, bytes]
) -> None:
    folder = make(corpus, None)
    (folder / "train-00001.bin").unlink()
    assert content(make(corpus, None)) == expected
    (folder / "train-00001.bin").write_bytes(b"short")
    assert content(make(corpus, None)) == expected
    (folder / "dataset.json").write_text("{")
    assert content(make(corpus, None)) == expected


# ---------------------------------------------------------------- never stale


def test_any_other_setting_tokenizer_or_input_is_another_data_set(corpus: Path, tmp_path: Path) -> None:
    mine = tmp_path / "in"
    for path in sorted(corpus.glob("*.jsonl")):
        write_jsonl(mine / path.name, [json.loads(line)["text"] for line in path.read_text().splitlines()])
    folders = [make(mine, None)]
    for change in ({"shuffle_seed": 1}, {"val_fraction": 0.2}, {"shard_tokens": 2501}):
        folders.append(make(mine, None, dataclasses.replace(SETTINGS, **change)))  # type: ignore[arg-type]
    source = jsonl.Jsonl(path=str(mine / "*.jsonl"))
    folders.append(prepare(source, SETTINGS, tokenizer()))
    other = type(tokenizer()).train(texts(50, seed=8), 290)
    folders.append(prepare(jsonl.Jsonl(path=str(mine)), SETTINGS, other))
    one = mine / "part-03.jsonl"
    raw, times = one.read_bytes(), one.stat()
    one.write_bytes(raw.replace(b"a", b"e", 1))  # same size, same time stamps
    os.utime(one, ns=(times.st_atime_ns, times.st_mtime_ns))
    folders.append(make(mine, None))
    one.write_bytes(raw)
    one.rename(mine / "renamed.jsonl")
    folders.append(make(mine, None))
    (mine / "renamed.jsonl").unlink()
    folders.append(make(mine, None))
    assert len(set(folders)) == 9
    assert all(
        folder.parent == cache_dir() / "data" and folder.name.startswith("jsonl-") for folder in folders
    )


def test_the_same_input_in_another_process_state_is_the_same_data_set(corpus: Path) -> None:
    folder = make(corpus, None)
    for path in corpus.glob("*.jsonl"):
        os.utime(path)  # time stamps say nothing about content
    assert make(corpus, None) == folder


def test_a_large_files_sum_is_remembered_but_never_past_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neogpt.data import fingerprint

    monkeypatch.setattr(fingerprint, "_REMEMBERED_BYTES", 1)
    monkeypatch.setattr(fingerprint, "_SETTLED_S", 0.0)
    path = write_jsonl(tmp_path / "a.jsonl", texts(9))
    first = fingerprint.inputs(jsonl.Jsonl(), [str(path)])
    summed: list[Path] = []
    monkeypatch.setattr(fingerprint.atomic, "sha256_file", lambda p: summed.append(p) or "0" * 64)
    assert fingerprint.inputs(jsonl.Jsonl(), [str(path)]) == first
    assert not summed
    path.write_bytes(path.read_bytes().replace(b"a", b"e"))
    assert fingerprint.inputs(jsonl.Jsonl(), [str(path)]) != first
    assert summed == [path]


def test_a_trained_tokenizer_follows_the_input(tmp_path: Path) -> None:
    settings = DataConfig(tokenizer="trained", vocab_size=280)
    source = jsonl.Jsonl(path=str(write_jsonl(tmp_path / "a.jsonl", texts(50))))
    first = tokenizer_for(settings, source)
    assert tokenizer_for(settings, source).fingerprint == first.fingerprint
    write_jsonl(tmp_path / "a.jsonl", ["zzz yyy xxx " * 9] * 50)
    assert tokenizer_for(settings, source).fingerprint != first.fingerprint


def test_a_folder_with_something_else_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="is not a prepared data set"):
        make(corpus, tmp_path / "mine")
    out = make(corpus, tmp_path / "out")
    before = content(out)
    with pytest.raises(ConfigError, match=r"shuffle_seed: 0 -> 4") as error:
        make(corpus, out, dataclasses.replace(SETTINGS, shuffle_seed=4))
    assert "--out" in str(error.value)
    assert content(out) == before
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


# ---------------------------------------------------------------- input and settings that cannot work


def write_text(path: Path, *names: str) -> None:
    for name in names:
        (path / name).write_text(f"This is {name}. " * 5)


def test_one_document_has_no_validation_documents(tmp_path: Path) -> None:
    write_text(tmp_path, "a.txt")
    with pytest.raises(DataError, match="no validation documents among 1") as error:
        prepare(text.Text(path=str(tmp_path)), DataConfig(), tokenizer())
    assert "--source.unit passage" in str(error.value)


def test_few_documents_are_told_a_fraction_that_works(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", texts(100))
    source = jsonl.Jsonl(path=str(tmp_path))
    with pytest.raises(DataError, match="no validation documents among 100") as error:
        prepare(source, DataConfig(val_fraction=1e-9), tokenizer())
    assert error.value.exit_code == 3
    assert "--data.val-fraction 0.1" in str(error.value)
    prepare(source, DataConfig(val_fraction=0.1), tokenizer())
    with pytest.raises(DataError, match="no training documents"):
        prepare(source, DataConfig(val_fraction=1 - 1e-12), tokenizer())


def test_no_documents_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n")
    (tmp_path / "b.txt").write_text("")
    with pytest.raises(DataError, match=r"there are no documents: 2 rows \(2 x blank text\)"):
        prepare(text.Text(path=str(tmp_path)), DataConfig(), tokenizer())


def test_broken_rows_are_counted_over_all_files(corpus: Path, tmp_path: Path) -> None:
    for path in corpus.glob("*.jsonl"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with open(tmp_path / "part-05.jsonl", "a") as file:
        file.write("{broken\n" * 3)
    info = json.loads((make(tmp_path, tmp_path / "out") / "dataset.json").read_text())
    assert (info["quarantine"]["rows"], info["quarantine"]["broken"]) == (303, 3)
    assert info["quarantine"]["shown"][0]["file"].endswith("part-05.jsonl")
    assert info["quarantine"]["shown"][0]["line"] == 51
    with open(tmp_path / "part-02.jsonl", "a") as file:
        file.write("{broken\n")
    with pytest.raises(DataError, match=r"4 of 304 rows"):
        make(tmp_path, tmp_path / "out2")
    assert not (tmp_path / "out2").exists()
    assert not (tmp_path / "out2.parts").exists()


@pytest.mark.parametrize("change", [{"val_fraction": 1.0}, {"val_fraction": -0.1}, {"shard_tokens": 0}])
def test_impossible_settings(corpus: Path, change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        make(corpus, None, dataclasses.replace(SETTINGS, **change))  # type: ignore[arg-type]


def test_a_vocabulary_too_large_for_uint16(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer(), "vocab_size", 65537)
    with pytest.raises(ConfigError, match="65537 ids"):
        make(corpus, None)


def test_a_source_without_documents_is_named(tmp_path: Path) -> None:
    from neogpt.data.sources import dolly

    with pytest.raises(ConfigError, match="dolly has no documents"):
        prepare(dolly.Dolly(), SETTINGS, tokenizer())


@pytest.mark.usefixtures("small_tasks")
def test_an_error_in_a_worker_comes_through(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", texts(40))
    (tmp_path / "b.jsonl.gz").write_bytes(b"not gzip" * 1000)
    with pytest.raises(DataError, match=r"b\.jsonl\.gz cannot be read"):
        make(tmp_path, tmp_path / "out", workers=2)


@pytest.mark.usefixtures("small_tasks")
def test_input_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_jsonl(tmp_path / "in" / "a.jsonl", texts(60))
    original = tokenize.tokenize

    def meddle(task: tokenize.Task, tok: object) -> None:
        original(task, tok)  # type: ignore[arg-type]
        path.write_bytes(path.read_bytes().replace(b"hill", b"hall", 1))

    monkeypatch.setattr(tokenize, "tokenize", meddle)
    with pytest.raises(DataError, match=r"a\.jsonl changed while it was read"):
        make(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("small_tasks")
def test_a_full_disk_is_an_error_that_keeps_finished_parts(
    corpus: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    add, room = ShardWriter.add, [200]

    def limited(self: ShardWriter, tokens: np.ndarray) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(self, tokens)

    monkeypatch.setattr(ShardWriter, "add", limited)
    with pytest.raises(DataError, match=r"cannot write .*No space left") as error:
        make(corpus, tmp_path / "out")
    assert error.value.exit_code == 3
    assert not (tmp_path / "out").exists()
    room[0] = 10**9
    made = count_tasks(monkeypatch)
    assert content(make(corpus, tmp_path / "out")) == expected
    assert len(made) == 2  # four of six were finished


def test_ctrl_c_stops_all_workers_at_once(corpus: Path, tmp_path: Path, script: list[str]) -> None:
    process = subprocess.Popen(
        command(script, corpus, tmp_path / "out", workers=2), start_new_session=True, stderr=subprocess.PIPE
    )
    until(lambda: bool(list(tmp_path.glob("out.parts/*/*/part.json"))) or process.poll() is not None)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=150)
    assert process.returncode in (-signal.SIGINT, 1, 0)  # 0: it had just ended
    assert errors.count(b"Traceback") <= 1  # the script's own; `neogpt` says "stopped"
    until(lambda: not _group(process.pid))


@pytest.mark.parametrize("moment", ["beginning", "working"])
def test_a_killed_worker_is_named_not_waited_for(
    corpus: Path, tmp_path: Path, script: list[str], moment: str
) -> None:
    process = subprocess.Popen(
        command(script, corpus, tmp_path / "out", workers=2), start_new_session=True, stderr=subprocess.PIPE
    )
    try:
        parts = tmp_path / "out.parts"
        until(
            lambda: (
                bool(_workers(process.pid) and (moment == "beginning" or list(parts.glob("*/*"))))
                or process.poll() is not None
            )
        )
        for worker in _workers(process.pid):
            with contextlib.suppress(ProcessLookupError):  # it had just ended
                os.kill(worker, signal.SIGKILL)
        _, errors = process.communicate(timeout=150)
    finally:
        process.kill()
    assert process.returncode == 0 or b"a worker process was killed" in errors  # 0: it had just ended


def _workers(leader: int) -> list[int]:
    """The worker processes of a preparation, also those that have just begun."""
    found = []
    for process in _group(leader) - {leader}:
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes():
                found.append(process)
    return found


@pytest.mark.usefixtures("small_tasks")
def test_progress_counts_to_its_totals(corpus: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    source = jsonl.Jsonl(path=str(corpus))
    prepare(source, SETTINGS, tokenizer(), tmp_path / "out", progress=lambda *a: seen.append(a))
    assert [row for row in seen if row[1] == row[2]] == [("tokenize", 6, 6), ("shuffle", 300, 300)]


def test_temporary_files_of_a_neighbor_are_left_alone(corpus: Path, tmp_path: Path) -> None:
    neighbor = tmp_path / f"out-2{'.tmp-'}beef"
    neighbor.mkdir()
    make(corpus, tmp_path / "out")
    assert neighbor.is_dir()
    atomic.sweep(tmp_path)
    assert not neighbor.exists()


def test_real_text_comes_back_from_the_shards(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "pretrain" / "factbook.jsonl.xz"
    with lzma.open(path, "rt", encoding="utf-8") as file:
        expected = Counter(json.loads(line)["text"] for line in file)
    tok = tokenizer()
    folder = prepare(jsonl.Jsonl(path=str(path)), DataConfig(val_fraction=0.05), tok, tmp_path / "out")
    found = [tok.decode(row[1:]) for split in ("train", "val") for row in documents(folder, split)]
    assert Counter(found) == expected
