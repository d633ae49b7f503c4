"""FineWeb-Edu (Penedo et al. 2024): educational web text, from the Hugging Face Hub or a local folder."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from neogpt.data.input_files import need_pyarrow, part_file
from neogpt.data.source import Remote
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
class FineWebEdu(Remote):
    """Which part of FineWeb-Edu."""

    name: str = "sample-10BT"
    """sample-10BT, sample-100BT, sample-350BT, a crawl such as CC-MAIN-2024-10, or default: everything."""
    path: str = ""
    """A folder with the same parquet files, read in place of the Hub."""
    revision: str = "87f09149ef4734204d70ed1d046ddc9ca3f2b8f9"
    """Commit, or a branch or tag, which then stands for the commit that it names at the start."""
    repo: str = "HuggingFaceFW/fineweb-edu"
    """Data set on the Hub; one laid out alike may take its place."""

    def parts(self) -> list[str]:
        """The files in the order of their names, large ones in slices; none has to be here yet."""
        need_pyarrow("to read parquet files")
        if self.path:
            return parquet.Parquet(path=self.path).parts()
        return [part for file in _files(self) for part in parquet.file_parts(file.name, file.bytes)]

    def documents(self, part: str, bad: RowStats) -> Iterator[Document]:
        """The text of each row."""
        if not self.path:
            name = str(part_file(part))
            part = f"{_local(self, name)}{part.removeprefix(name)}"
        return parquet.documents(part, parquet.Parquet(), bad)

    def resolved(self) -> Self:
        """The same with a commit as revision."""
        if self.path:
            return self
        return dataclasses.replace(self, revision=_hub_stream.commit(self.repo, self.revision))

    def published(self) -> list[dict[str, Any]]:
        """Name, size and sha256 of each file on the Hub."""
        if self.path:
            return []
        return [{**file._asdict(), "name": Path(file.name).name} for file in _files(self)]

    def expected(self) -> tuple[int, int] | None:
        """By the data set's card; None for a crawl, whose size is not known here."""
        tokens = TOKENS.get(self.name)
        if tokens is None or self.path:
            return None
        return tokens, round(tokens * _PARQUET_BYTES)

    def fetch(self, name: str) -> None:
        """Have a file here, with its published sha256."""
        if not self.path:
            _hub_stream.fetch(self.repo, self.resolved().revision, _file(self, name))

    def drop(self, name: str) -> None:
        """Delete a downloaded file."""
        if not self.path:
            _hub_stream.drop(self.repo, self.resolved().revision, _file(self, name))


def _local(source: FineWebEdu, name: str) -> Path:
    file, revision = _file(source, name), source.resolved().revision
    return _hub_stream.cached(source.repo, revision, file) or _hub_stream.fetch(source.repo, revision, file)


def _files(source: FineWebEdu) -> tuple[_hub_stream.File, ...]:
    return _hub_stream.listing(source.repo, source.resolved().revision, _folder(source.name))


def _file(source: FineWebEdu, name: str) -> _hub_stream.File:
    return next(file for file in _files(source) if file.name == name)


def _folder(name: str) -> str:
    """Where the configurations of the data set's card lie: sample-10BT in sample/10BT, a crawl in data/."""
    kind, _, size = name.partition("-")
    if kind == "sample":
        return f"sample/{size}"
    return "data" if name == "default" else f"data/{name}"
