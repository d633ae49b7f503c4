"""FineWeb-Edu (Penedo et al. 2024): educational web text, from the Hugging Face Hub or a local folder."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neogpt.config import SourceConfig
from neogpt.data.input_files import need_pyarrow, part_file
from neogpt.data.sources import _hub_stream, parquet
from neogpt.records import Document, RowStats

TOKENS = {
    "sample-10BT": 10_000_000_000,
    "sample-100BT": 100_000_000_000,
    "sample-350BT": 350_000_000_000,
    "default": 1_300_000_000_000,
}
"""About how many GPT-2 tokens each part has, by the data set's card."""
_PARQUET_BYTES = 2.8
"""A token's share of the files: sample-10BT is 14 files of 2 GB."""


@dataclass(frozen=True, kw_only=True)
class Config(SourceConfig):
    """Which part of FineWeb-Edu."""

    name: str = "sample-10BT"
    """sample-10BT, sample-100BT, sample-350BT, a crawl such as CC-MAIN-2024-10, or default: everything."""
    path: str = ""
    """A folder with the same parquet files, read in place of the Hub."""
    revision: str = "87f09149ef4734204d70ed1d046ddc9ca3f2b8f9"
    """Commit, or a branch or tag, which then stands for the commit that it names at the start."""
    repo: str = "HuggingFaceFW/fineweb-edu"
    """Data set on the Hub; one laid out alike may take its place."""


def parts(config: Config) -> list[str]:
    """The files in the order of their names, large ones in slices; none has to be here yet."""
    need_pyarrow("to read parquet files")
    if config.path:
        return parquet.parts(parquet.Config(path=config.path))
    return [part for file in _files(config) for part in parquet.file_parts(file.name, file.bytes)]


def documents(config: Config, part: str, bad: RowStats) -> Iterator[Document]:
    """The text of each row."""
    if not config.path:
        name = str(part_file(part))
        part = f"{_local(config, name)}{part.removeprefix(name)}"
    return parquet.documents(parquet.Config(), part, bad)


def resolved(config: Config) -> Config:
    """The same with a commit as revision."""
    if config.path:
        return config
    return dataclasses.replace(config, revision=_hub_stream.commit(config.repo, config.revision))


def published(config: Config) -> list[dict[str, Any]]:
    """Name, size and sha256 of each file on the Hub."""
    if config.path:
        return []
    return [{**file._asdict(), "name": Path(file.name).name} for file in _files(config)]


def expected(config: Config) -> tuple[int, int] | None:
    """About how many GPT-2 tokens there are, and bytes to download; None for a crawl, whose size is not known here."""
    tokens = TOKENS.get(config.name)
    if tokens is None or config.path:
        return None
    return tokens, round(tokens * _PARQUET_BYTES)


def fetch(config: Config, name: str) -> None:
    """Have a file here, with its published sha256."""
    if not config.path:
        _hub_stream.fetch(config.repo, resolved(config).revision, _file(config, name))


def drop(config: Config, name: str) -> None:
    """Delete a downloaded file."""
    if not config.path:
        _hub_stream.drop(config.repo, resolved(config).revision, _file(config, name))


def _local(config: Config, name: str) -> Path:
    file, revision = _file(config, name), resolved(config).revision
    return _hub_stream.cached(config.repo, revision, file) or _hub_stream.fetch(config.repo, revision, file)


def _files(config: Config) -> tuple[_hub_stream.File, ...]:
    return _hub_stream.listing(config.repo, resolved(config).revision, _folder(config.name))


def _file(config: Config, name: str) -> _hub_stream.File:
    return next(file for file in _files(config) if file.name == name)


def _folder(name: str) -> str:
    """Where the configurations of the data set's card lie: sample-10BT in sample/10BT, a crawl in data/."""
    kind, _, size = name.partition("-")
    if kind == "sample":
        return f"sample/{size}"
    return "data" if name == "default" else f"data/{name}"
