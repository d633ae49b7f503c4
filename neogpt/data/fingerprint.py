"""What a prepared data set is made of, as a key: other input, settings or code give another key."""

import dataclasses
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from neogpt import atomic, config
from neogpt.data.input_files import part_file
from neogpt.data.source import HasDocuments, Remote
from neogpt.errors import DataError
from neogpt.paths import cache_dir

_REMEMBERED_BYTES = 16 << 20
_SETTLED_S = 5.0


def inputs(source: HasDocuments, parts: Sequence[str]) -> list[dict[str, Any]]:
    """Name, size and sha256 of each input file, in the order of the parts: for a source that makes its text, the
    sha256 of its code; for one that knows its files before they are here, what is published of them."""
    if isinstance(source, Remote) and (published := source.published()):
        return list(published)
    files = list(dict.fromkeys(path for path in map(part_file, parts) if path.is_file()))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(_identity, files))
    if len(files) < len(set(map(part_file, parts))):
        found.append(_code(source))
    return found


def resolved(source: HasDocuments) -> HasDocuments:
    """The source with nothing left that may mean something else tomorrow (a branch of a repository)."""
    return source.resolved() if isinstance(source, Remote) else source


def settings(source: HasDocuments) -> dict[str, Any]:
    """A source's name and settings as plain values."""
    return {"source": source.kind, "options": config.flatten(dataclasses.asdict(source))}


def _identity(path: Path) -> dict[str, Any]:
    try:
        return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}", "a file that may be read", code="data.unreadable"
        ) from None


def sha256(path: Path) -> str:
    """A file's sha256; that of a large file is remembered for as long as its size and times stay the same."""
    stat = path.stat()
    if stat.st_size < _REMEMBERED_BYTES or time.time() - stat.st_ctime < _SETTLED_S:
        return atomic.sha256_file(path)
    facts = {"path": str(path.resolve()), "size": stat.st_size, "inode": [stat.st_dev, stat.st_ino]}
    note = cache_dir() / "sha256" / config.digest({**facts, "times": [stat.st_mtime_ns, stat.st_ctime_ns]})
    try:
        return note.read_text("utf-8")
    except FileNotFoundError:
        digest = atomic.sha256_file(path)
    note.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(note, digest)
    return digest


def _code(source: HasDocuments) -> dict[str, Any]:
    """The identity of a source's code: a changed generator makes other text from the same settings."""
    files = source.code()
    sums = [[path.name, atomic.sha256_file(path)] for path in files]
    return {
        "name": source.kind,
        "bytes": sum(p.stat().st_size for p in files),
        "sha256": config.digest({"code": sums}),
    }
