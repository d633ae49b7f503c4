"""databricks-dolly-15k: instructions written by people, some about a given text."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from neogpt.config import SourceConfig
from neogpt.data.records import Instruction, Quarantine
from neogpt.data.sources import _rows, jsonl
from neogpt.data.sources._files import default_path

DEFAULT = "sft/databricks-dolly-15k.jsonl"


@dataclass(frozen=True, kw_only=True)
class Config(SourceConfig):
    """Dolly (Conover et al. 2023, "Free Dolly"; CC-BY-SA-3.0)."""

    path: str = ""
    """databricks-dolly-15k.jsonl; empty: the copy in the folder NEOGPT_DATA."""
    max_refused: float = 0.05
    """Share of rows that may be blank or exact duplicates; more is an error."""


def parts(config: Config) -> list[str]:
    """The file or files."""
    return jsonl.parts(jsonl.Config(path=default_path(config.path, DEFAULT)))


def instructions(config: Config, bad: Quarantine) -> Iterator[Instruction]:
    """Every row with a request and an answer, each once: 15,003 of the 15,011."""
    found = jsonl.all_rows(parts(config), bad)
    yield from _rows.distinct(found, partial(_rows.to_instruction, columns=_rows.Columns()), bad)
    bad.check()
    bad.check_refused(config.max_refused, "allow more with --source.max-refused")
