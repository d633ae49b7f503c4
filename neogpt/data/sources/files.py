"""A folder of mixed files: parquet, JSON lines and text, each read by its suffix."""

from collections.abc import Iterator
from dataclasses import dataclass

from neogpt.data.records import Document, Quarantine
from neogpt.data.sources import _rows, jsonl, parquet, text
from neogpt.data.sources._files import expand, part_file


@dataclass(frozen=True, kw_only=True)
class Config(_rows.Columns):
    """Files of any kind that the sources parquet, jsonl and text read."""


def parts(config: Config) -> list[str]:
    """The files, sorted; large parquet files in several parts."""
    found = expand(config.path, parquet.SUFFIXES + jsonl.SUFFIXES + text.SUFFIXES)
    return [part for file in found for part in (parquet.file_parts(file) if _is_parquet(file) else [file])]


def documents(config: Config, part: str, bad: Quarantine) -> Iterator[Document]:
    """The text column of each row, or the whole of a text file."""
    name = part_file(part).name.lower()
    if _is_parquet(name):
        return parquet.documents(config, part, bad)
    if name.endswith(jsonl.SUFFIXES):
        return jsonl.documents(config, part, bad)
    return text.documents(text.Config(path=config.path), part, bad)


def _is_parquet(name: str) -> bool:
    return name.lower().endswith(parquet.SUFFIXES)
