"""The ground floor: files that are whole or absent, ledgers, names inside a folder, plugins, settings, errors."""

import fcntl
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import filelock
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neogpt import atomic, errors, ledger, paths, plugins
from neogpt.errors import CheckpointError, ConfigError, DataError, NeoGPTError


class Refused(Exception):
    """What a test raises in the middle of a write."""


# files


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_written_is_flushed_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that survives a power cut: contents, manifest, rename, parent folder."""
    done: list[str] = []
    fsync, rename, replace = os.fsync, Path.rename, os.replace

    def seen(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}").replace(str(tmp_path), "")
        done.append("fsync " + name.partition(".tmp-")[0] + name[-5:])
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(f"replace {Path(b).name}"), replace(a, b)))
    monkeypatch.setattr(Path, "rename", lambda a, b: (done.append(f"rename {Path(b).name}"), rename(a, b))[1])
    with atomic.directory(tmp_path / "d") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "x.bin").write_bytes(b"1")
    first = next(i for i, line in enumerate(done) if "MANIFEST" in line)
    assert any(line.endswith("x.bin") for line in done[:first])
    assert any(line.endswith("/sub") for line in done[:first])
    assert done[-2:] == ["rename d", "fsync "]  # the parent


def test_a_folder_appears_whole_with_a_manifest(tmp_path: Path) -> None:
    with atomic.directory(tmp_path / "d") as folder:
        (folder / "x").write_bytes(b"12345")
        assert not (tmp_path / "d").exists()
    manifest = json.loads((tmp_path / "d" / "MANIFEST.json").read_text())
    sha256 = "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"
    assert manifest == {"files": {"x": {"bytes": 5, "sha256": sha256}}}
    atomic.verify_manifest(tmp_path / "d")
    with atomic.directory(tmp_path / "d") as folder:
        (folder / "y").write_bytes(b"")
    assert {p.name for p in (tmp_path / "d").iterdir()} == {"y", "MANIFEST.json"}
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    with atomic.directory(tmp_path / "d") as folder:
        (folder / "x").write_text("old")

    def fail() -> None:
        with atomic.directory(tmp_path / "d") as folder:
            (folder / "x").write_text("new")
            raise Refused

    with pytest.raises(Refused):
        fail()
    assert (tmp_path / "d" / "x").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize(
    ("place", "visible"), [("filled", ""), ("manifest", ""), ("before_rename", ""), ("renamed", "new")]
)
def test_killed_while_writing_a_folder(tmp_path: Path, place: str, visible: str) -> None:
    """The folder is absent or whole, and the next write sweeps up."""
    code = (
        "import sys, pathlib; from neogpt import atomic\n"
        "with atomic.directory(pathlib.Path(sys.argv[1]), 'here') as folder: (folder / 'x').write_text('new')"
    )
    environment = {**os.environ, "NEOGPT_FAILPOINT": f"here.{place}"}
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "d")], env=environment)
    assert ended.returncode == -9
    assert (tmp_path / "d").exists() == bool(visible)
    if visible:
        atomic.verify_manifest(tmp_path / "d")
    atomic.sweep(tmp_path, "d")
    assert [p.name for p in tmp_path.iterdir()] == (["d"] if visible else [])


def test_sweep_takes_only_what_it_should(tmp_path: Path) -> None:
    for name in ("a.tmp-1", "a.tmp-old-2", "ab.tmp-3", "a", "[a].tmp-4"):
        (tmp_path / name).mkdir()
    (tmp_path / "file.tmp-5").touch()
    atomic.sweep(tmp_path, "a")
    assert {p.name for p in tmp_path.iterdir()} == {"ab.tmp-3", "a", "[a].tmp-4", "file.tmp-5"}
    atomic.sweep(tmp_path, "[a]")
    assert {p.name for p in tmp_path.iterdir()} == {"ab.tmp-3", "a", "file.tmp-5"}
    atomic.sweep(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"a"}
    atomic.sweep(tmp_path / "absent")


@pytest.mark.parametrize(
    ("manifest", "named"),
    [
        ("", "damaged"),
        ("[]", "damaged"),
        ("[" * 100_000, "damaged"),
        ('{"files": 3}', "damaged"),
        ('{"files": {"x": {"bytes": 1}}}', "damaged"),
        ('{"files": {"y": {"bytes": 1, "sha256": ""}}}', "y is missing"),
        ('{"files": {"x": {"bytes": 2, "sha256": ""}}}', "has 1 bytes"),
        ('{"files": {"x": {"bytes": 1, "sha256": ""}}}', "sha256 differs"),
        ('{"files": {"../x": {"bytes": 1, "sha256": ""}}}', "leads outside"),
        ('{"files": {"/etc/passwd": {"bytes": 1, "sha256": ""}}}', "leads outside"),
        ('{"files": {"link": {"bytes": 1, "sha256": ""}}}', "leads outside"),
        ('{"files": {"x\\u0000": {"bytes": 1, "sha256": ""}}}', "leads outside"),
        ('{"files": {"loop": {"bytes": 1, "sha256": ""}}}', "loop"),
        ('{"files": {"%s": {"bytes": 1, "sha256": ""}}}' % ("x" * 300), "cannot be read|missing"),
    ],
)
def test_a_bad_manifest_raises_the_callers_error(tmp_path: Path, manifest: str, named: str) -> None:
    """Always the error that was asked for: a reader that falls back to an older folder catches only that."""
    (tmp_path / "x").write_text("1")
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "x").write_text("1")
    (folder / "link").symlink_to(tmp_path / "x")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "MANIFEST.json").write_text(manifest)
    with pytest.raises(CheckpointError, match=named):
        atomic.verify_manifest(folder, CheckpointError)
    with pytest.raises(DataError, match=named):
        atomic.verify_manifest(folder)


def test_no_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no MANIFEST\.json"):
        atomic.verify_manifest(tmp_path)


def test_an_unreadable_file_is_the_callers_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_text("1")
    atomic.write_manifest(tmp_path)

    def broken(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(atomic, "sha256_file", broken)
    with pytest.raises(CheckpointError, match="Input/output error"):
        atomic.verify_manifest(tmp_path, CheckpointError)


# locks


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    with atomic.lock(path, "the run x"):
        with pytest.raises(ConfigError) as caught, atomic.lock(path, "the run x"):
            pass
        assert f"the run x is in use by process {os.getpid()} on {os.uname().nodename}" in str(caught.value)
    with atomic.lock(path, "the run x"):
        pass
    path.write_text("process 1 on a machine that was switched off\n")
    with atomic.lock(path, "the run x"):
        assert path.read_text().split()[:2] == ["process", str(os.getpid())]


def test_a_lock_is_free_when_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    code = (
        "import sys, pathlib; from neogpt import atomic\n"
        "with atomic.lock(pathlib.Path(sys.argv[1]), 'it'): print('mine', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout
    assert holder.stdout.readline() == b"mine\n"
    with pytest.raises(ConfigError) as caught, atomic.lock(path, "it"):
        pass
    assert f"process {holder.pid} " in str(caught.value)
    holder.kill()
    holder.communicate(timeout=150)
    with atomic.lock(path, "it"):
        pass


def test_a_lock_is_filelocks(tmp_path: Path) -> None:
    """So those whom huggingface_hub keeps out wait for us, and we for them."""
    path = tmp_path / ".lock"
    with atomic.lock(path, "it"), pytest.raises(filelock.Timeout):
        filelock.FileLock(path).acquire(blocking=False)
    with filelock.FileLock(path), pytest.raises(ConfigError), atomic.lock(path, "it"):
        pass


def test_a_lock_is_read_past_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That one is locked: on Windows nobody but its holder can read it, and who holds it stands behind it."""
    path, read = tmp_path / ".lock", io.FileIO.read
    with atomic.lock(path, "it"):
        assert path.read_bytes()[:1].isspace()
        begins: list[int] = []

        class Watched(io.FileIO):
            def read(self, size: int = -1) -> bytes:
                begins.append(self.tell())
                return read(self, size)

        monkeypatch.setattr("builtins.open", lambda path, mode, buffering: Watched(path, "a+"))
        with pytest.raises(ConfigError), atomic.lock(path, "it"):
            pass
    assert begins
    assert min(begins) >= 1


def test_a_lock_can_wait(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    code = (
        "import sys, pathlib; from neogpt import atomic; print('wait', flush=True)\n"
        "with atomic.lock(pathlib.Path(sys.argv[1]), 'it', wait=True): print('mine', flush=True)"
    )
    with open(path, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert waiting.stdout
        assert waiting.stdout.readline() == b"wait\n"
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.3)
    assert waiting.communicate(timeout=150)[0] == b"mine\n"


# ledgers


def test_ledger_appends_and_reads(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    assert ledger.read(path) == []
    rows = [{"step": 1, "loss": 0.1}, {"step": 2, "text": "ä\n\u2028"}]
    for row in rows:
        ledger.append(path, row)
    assert ledger.read(path) == rows
    assert path.read_bytes().count(b"\n") == 2
    assert ledger.series(ledger.read(path), "loss") == ([1], [0.1])


@pytest.mark.parametrize("cut", range(1, 31))
def test_a_torn_last_line_is_left_out(tmp_path: Path, cut: int) -> None:
    """Whatever a crash leaves of the last line, the rows before it stay, and the next row is whole."""
    path = tmp_path / "l.jsonl"
    ledger.append(path, {"step": 1, "loss": 0.25})
    ledger.append(path, {"step": 2, "loss": 0.125, "x": 1})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    kept = ledger.read(path)
    assert kept == [{"step": 1, "loss": 0.25}] or (cut == 1 and len(kept) == 2)
    ledger.append(path, {"step": 3})
    assert ledger.read(path) == [*kept, {"step": 3}]
    ledger.cut_back(path, 99)
    assert path.read_bytes() == b"".join(json.dumps(row).encode() + b"\n" for row in [*kept, {"step": 3}])


@given(
    st.lists(
        st.fixed_dictionaries(
            {"step": st.integers(0, 20)},
            optional={"loss": st.floats(allow_nan=False) | st.none(), "text": st.text()},
        )
    ),
    st.integers(-1, 21),
)
@settings(max_examples=15)
def test_cutting_back_keeps_the_bytes_of_what_stays(rows: list[dict[str, Any]], step: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path, expected = Path(name) / "l.jsonl", Path(name) / "e.jsonl"
        for row in rows:
            ledger.append(path, row)
            if row["step"] <= step:
                ledger.append(expected, row)
        if rows:
            ledger.cut_back(path, step)
            assert path.read_bytes() == (expected.read_bytes() if expected.exists() else b"")


# names and places


@pytest.mark.parametrize("name", ["a", "a/b", "./a", "a/../b", "..a", "a b", "ä"])
def test_safe_join_lets_inside_names_pass(tmp_path: Path, name: str) -> None:
    assert paths.safe_join(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/etc/passwd", "/", "out/x", "a\0b"])
def test_safe_join_refuses_what_leads_outside(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    with pytest.raises(DataError, match="leads outside"):
        paths.safe_join(root, name)


def test_places_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOGPT_HOME", str(tmp_path / "mine"))
    assert paths.cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("NEOGPT_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert paths.cache_dir() == tmp_path / "xdg" / "neogpt"
    monkeypatch.setenv("NEOGPT_DATA", str(tmp_path / "absent"))
    assert paths.local_data() is None
    monkeypatch.setenv("NEOGPT_DATA", str(tmp_path))
    assert paths.local_data() == tmp_path


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_offline_is_a_wish_of_the_environment(
    value: str, offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("NEOGPT_OFFLINE", value)
    assert paths.is_offline() == offline


# plugins


def test_plugins_are_found_by_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "shelf_things"
    package.mkdir()
    for name in ("__init__", "one_two", "three", "_hidden"):
        (package / f"{name}.py").write_text(f'"""About {name}.\n\nMore."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert plugins.names("shelf_things") == ["one-two", "three"]
    assert plugins.summary("shelf_things", "one-two") == "About one_two."
    with pytest.raises(ConfigError) as caught:
        plugins.get("shelf_things", "tree")
    assert "'tree'" in str(caught.value)
    assert "did you mean three?" in str(caught.value)
    with pytest.raises(ConfigError):
        plugins.get("shelf_things", "_hidden")


# errors


def test_errors_have_the_documented_exit_codes() -> None:
    codes = {
        ConfigError: 2,
        DataError: 3,
        CheckpointError: 4,
        errors.DivergedError: 5,
        errors.PreemptedError: 75,
    }
    assert {kind: kind.exit_code for kind in codes} == codes
    error = DataError("a", "b", "c").within("file")
    assert isinstance(error, DataError)
    assert str(error) == "file: a\n  expected: b\n  try: c"


def test_exit_codes_are_distinct() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, NeoGPTError)
    ]
    assert len({kind.exit_code for kind in kinds}) == len(kinds)
