"""Anthropic's hh-rlhf form: whole dialogues, chosen and rejected, that differ in the last answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from neogpt.data.input_files import default_path
from neogpt.data.source import HasPairs
from neogpt.data.sources import _rows, _tables, files
from neogpt.data.sources._dialogue import from_hh, pair_of
from neogpt.records import Pair, RowStats

DEFAULT = "preference/hh_harmless_base.jsonl"
HUB = "hf://datasets/Anthropic/hh-rlhf/harmless-base/train.jsonl.gz"


@dataclass(frozen=True, kw_only=True)
class HHRLHF(HasPairs):
    """Columns chosen and rejected (Bai et al. 2022; MIT); where there is a prompt column, it stands before both."""

    path: str = ""
    """A file or folder; empty: the copy in NEOGPT_DATA, else harmless-base from the Hugging Face Hub."""
    pair_kind: str = "hh"
    """What reports call these pairs."""
    max_filtered: float = 0.2
    """Share of rows that may be of no use; more is an error."""

    def parts(self) -> list[str]:
        """The file or files."""
        return files.tables(default_path(self.path, DEFAULT, HUB))

    def pairs(self, bad: RowStats) -> Iterator[Pair]:
        """Every row whose two dialogues differ in the last answer alone, each once.

        Blank answers, equal ones, speakers that do not take turns and answers that go on are filtered and counted.
        """
        make = partial(to_pair, kind=self.pair_kind)
        rows = files.table_rows(self.parts(), _tables.only(["chosen", "rejected"], ["prompt"]), bad)
        yield from _rows.distinct(rows, make, bad)
        bad.check()
        bad.check_filtered(self.max_filtered, "allow more with --source.max-filtered")


def to_pair(values: Mapping[str, Any], kind: str) -> Pair:
    """The last answers as chosen and rejected, what stands before them as history and request."""
    prompt = _rows.optional(values, "prompt")
    chosen, rejected = _rows.needed(values, "chosen"), _rows.needed(values, "rejected")
    return pair_of(from_hh(prompt + chosen), from_hh(prompt + rejected), kind)
