"""What a prepared data set is made of, as a key: other input, settings or code give another key."""

import dataclasses
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from neogpt import atomic, config, plugins
from neogpt.config import SourceConfig
from neogpt.data.sources._files import part_file
from neogpt.errors import DataError
from neogpt.paths import cache_dir

_REMEMBERED_BYTES = 16 << 20
_SETTLED_S = 5.0


def inputs(source_name: str, source: SourceConfig, parts: Sequence[str]) -> list[dict[str, Any]]:
    """Name, size and sha256 of each input file, in the order of the parts: for a source that makes its text, the
    sha256 of its code; for one that knows its files before they are here, what is published of them."""
    module = plugins.get("neogpt.data.sources", source_name)
    if hasattr(module, "published") and (published := module.published(source)):
        return list(published)
    files = list(dict.fromkeys(path for path in map(part_file, parts) if path.is_file()))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(_identity, files))
    if len(files) < len(set(map(part_file, parts))):
        found.append(_code(module))
    return found


def resolved(source_name: str, source: SourceConfig) -> SourceConfig:
    """The source's options with nothing left that may mean something else tomorrow (a branch of a repository)."""
    module = plugins.get("neogpt.data.sources", source_name)
    return module.resolved(source) if hasattr(module, "resolved") else source


def settings(source_name: str, source: SourceConfig) -> dict[str, Any]:
    """A source's name and options as plain values."""
    return {"source": source_name, "options": config.flatten(dataclasses.asdict(source))}


def _identity(path: Path) -> dict[str, Any]:
    try:
        return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "a file that may be read") from None


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


def _code(module: ModuleType) -> dict[str, Any]:
    """The identity of a source's code: a changed generator makes other text from the same settings."""
    assert module.__file__
    file = Path(module.__file__)
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    sums = {path.name: atomic.sha256_file(path) for path in files}
    return {
        "name": module.__name__,
        "bytes": sum(p.stat().st_size for p in files),
        "sha256": config.digest(sums),
    }
