"""Red-team preference pairs: harmful requests, each with a better and a worse answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from neogpt.data.input_files import default_path
from neogpt.data.source import HasPairs
from neogpt.data.sources import _rows, _tables, files
from neogpt.records import Pair, RowStats

DEFAULT = "preference/red_team_pairwise_format.jsonl"
HUB = "hf://datasets/andersonbcdefg/red_teaming_reward_modeling_pairwise"
COLUMNS = ["prompt", "response_a", "response_b", "preferred"]


@dataclass(frozen=True, kw_only=True)
class RedTeamPairs(HasPairs):
    """Columns prompt, response_a, response_b, explanation, preferred ("A" or "B")."""

    path: str = ""
    """A file or folder; empty: the copy in NEOGPT_DATA, else the one of the Hugging Face Hub."""
    max_filtered: float = 0.2
    """Share of rows that may be without a usable preference; more is an error."""

    def parts(self) -> list[str]:
        """The file or files."""
        return files.tables(default_path(self.path, DEFAULT, HUB))

    def pairs(self, bad: RowStats) -> Iterator[Pair]:
        """Every row that prefers one of two different answers, each once.

        Real files hold rows that prefer neither, or whose answers are blank or equal: those are filtered, and
        counted.
        """
        rows = files.table_rows(self.parts(), _tables.only(COLUMNS), bad)
        yield from _rows.distinct(rows, to_pair, bad)
        bad.check()
        bad.check_filtered(self.max_filtered, "allow more with --source.max-filtered")


def to_pair(values: Mapping[str, Any]) -> Pair:
    """The preferred answer as `chosen`, the other as `rejected`."""
    a, b = _rows.needed(values, "response_a"), _rows.needed(values, "response_b")
    prompt, preferred = _rows.needed(values, "prompt"), _rows.present(values, "preferred")
    if preferred not in ("A", "B"):
        raise _rows.FilteredRow("preferred is neither A nor B")
    if a == b:
        raise _rows.FilteredRow("equal answers")
    chosen, rejected = (a, b) if preferred == "A" else (b, a)
    return Pair(prompt, "", chosen, rejected, "red-team")
