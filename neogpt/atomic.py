"""Files and folders that are either whole or absent, and durable once they are there.

A file is written under a temporary name, flushed to disk, renamed, and its folder flushed. A folder is
filled under a temporary name, gets a manifest (size and sha256 of each file) as its last file, and is
renamed. A reader that checks the manifest therefore never takes a torn write for data.
"""

import contextlib
import glob
import hashlib
import json
import os
import platform
import shutil
import signal
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

from neogpt.errors import ConfigError, DataError, NeoGPTError
from neogpt.paths import safe_join

MANIFEST = "MANIFEST.json"
_TEMPORARY = ".tmp-"
_OPENS_FOLDERS = hasattr(os, "O_DIRECTORY")  # not Windows


def failpoint(name: str) -> None:
    """Die here, as by a power cut, when NEOGPT_FAILPOINT names this place (for crash tests)."""
    if os.environ.get("NEOGPT_FAILPOINT") == name:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows either ends it at once


def fsync(path: Path) -> None:
    """Flush a file or a folder to disk.

    Windows flushes only a file that is open for writing, and gives nobody a folder to flush: NTFS keeps a journal of
    names, which a power cut may leave some seconds behind.
    """
    if not _OPENS_FOLDERS and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if _OPENS_FOLDERS else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """A file to write beside `path` that takes its place, durable, only when the block ends well."""
    temporary = path.with_name(f"{path.name}{_TEMPORARY}{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        fsync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, whole and durable."""
    with replacement(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8, whole and durable."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as readable JSON, whole and durable."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def directory(final: Path, failpoints: str = "") -> Iterator[Path]:
    """A folder to fill that appears at `final` only when the block ends well; an older `final` is replaced.

    `failpoints` prefixes the names of the instants at which a crash test may kill the process.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f"{final.name}{_TEMPORARY}{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        yield temporary
        failpoint(f"{failpoints}.filled")
        write_manifest(temporary)
        failpoint(f"{failpoints}.manifest")
        if final.exists():
            final.rename(final.with_name(f"{final.name}{_TEMPORARY}old-{uuid.uuid4().hex[:8]}"))
        failpoint(f"{failpoints}.before_rename")
        temporary.rename(final)
        failpoint(f"{failpoints}.renamed")
        fsync(final.parent)
        sweep(final.parent, final.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(parent: Path, name: str = "") -> None:
    """Remove what interrupted writes left in `parent`: those of the file or folder `name`, or all."""
    for path in parent.glob(f"{glob.escape(name) or '*'}{_TEMPORARY}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_manifest(folder: Path) -> None:
    """Flush every file of `folder` and write MANIFEST.json, its sizes and sha256 sums, last."""
    files = {}
    for path in sorted(folder.rglob("*")):
        fsync(path)
        if path.is_file():
            files[str(path.relative_to(folder))] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    write_json(folder / MANIFEST, {"files": files})
    fsync(folder)


def read_manifest(folder: Path, error: type[NeoGPTError] = DataError) -> dict[str, tuple[int, str]]:
    """Each file's bytes and sha256 (hex), by name, as the manifest lists them; `error` where it cannot be read."""
    try:
        files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        return {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except FileNotFoundError:
        raise error(f"{folder} has no {MANIFEST}", "a folder that was written to its end") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise error(f"{folder / MANIFEST} is damaged", "JSON with the size and sha256 of each file") from None
    except OSError as cause:
        raise error(f"{folder / MANIFEST} cannot be read: {cause}", "a file that can be read") from None


def verify_manifest(
    folder: Path,
    error: type[NeoGPTError] = DataError,
    hint: str = "",
    unread: Collection[str] = (),
) -> None:
    """Raise `error`, naming the first file that is missing or differs from the folder's manifest.

    `hint`: what to type then, which only the caller knows. `unread`: files that the caller will not read, whose bytes
    are therefore not hashed; they must be there in their size.
    """
    try:
        _verify_files(folder, error, unread)
    except NeoGPTError as found:
        raise error(found.what, found.expected, hint) from None


def _verify_files(folder: Path, error: type[NeoGPTError], unread: Collection[str]) -> None:
    for name, (size, digest) in read_manifest(folder, error).items():
        try:
            _verify_file(safe_join(folder, name), size, None if name in unread else digest, error)
        except OSError as cause:
            raise error(f"{folder / name} cannot be read: {cause}", "a file that can be read") from None


def _verify_file(path: Path, size: int, digest: str | None, error: type[NeoGPTError]) -> None:
    if not path.is_file():
        raise error(f"{path} is missing", f"the {size} bytes that {MANIFEST} lists")
    if path.stat().st_size != size:
        raise error(f"{path} has {path.stat().st_size} bytes", f"{size} bytes, as {MANIFEST} says")
    if digest is not None and sha256_file(path) != digest:
        raise error(f"{path} is damaged: its sha256 differs", f"{digest}, as {MANIFEST} says")


@contextlib.contextmanager
def lock(path: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold `path` as a lock that dies with the process.

    It is the lock of the `filelock` package on the same path (which huggingface_hub takes, too): flock, or LockFileEx
    on Windows. Errors: ConfigError when another process holds it, unless we are to wait for that one; OSError on a
    file system without locks.
    """
    from filelock import lock_descriptor  # start-up time: `--help` need not wait for it

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b", buffering=0) as file:
        if not lock_descriptor(file.fileno(), blocking=wait):
            raise ConfigError(
                f"{what} is in use by {_holder(file)}",
                "one process at a time",
                "wait for it, or use another folder",
                code="config.in_use",
            )
        file.truncate(0)
        file.write(f" process {os.getpid()} on {platform.node()}\n".encode())
        yield


def _holder(file: IO[bytes]) -> str:
    """Who wrote into a lock; its first byte is blank, since Windows lets nobody else read what is locked."""
    file.seek(1)
    return file.read().decode(errors="replace").strip() or "another process"
