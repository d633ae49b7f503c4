"""databricks-dolly-15k: instructions written by people, some about a given text."""

from collections.abc import Iterator
from dataclasses import dataclass

from neogpt.data.input_files import default_path
from neogpt.data.source import HasInstructions, HasPairs
from neogpt.data.sources import _rows, _tables, files
from neogpt.data.sources._refusals import refusal_of
from neogpt.records import Instruction, Pair, RowStats

DEFAULT = "sft/databricks-dolly-15k.jsonl"
HUB = "hf://datasets/databricks/databricks-dolly-15k"


@dataclass(frozen=True, kw_only=True)
class Dolly(HasInstructions, HasPairs):
    """Dolly (Conover et al. 2023, "Free Dolly"; CC-BY-SA-3.0)."""

    path: str = ""
    """A file or folder; empty: the copy in NEOGPT_DATA, else the one of the Hugging Face Hub."""
    max_filtered: float = 0.05
    """Share of rows that may be blank or exact duplicates; more is an error."""

    def parts(self) -> list[str]:
        """The file or files."""
        return files.tables(default_path(self.path, DEFAULT, HUB))

    def instructions(self, bad: RowStats) -> Iterator[Instruction]:
        """Every row with a request and an answer, each once: 15,003 of the 15,011."""
        columns = _rows.Columns()
        rows = files.table_rows(self.parts(), _tables.instruction_columns(columns), bad)
        yield from _tables.instructions(rows, columns, bad)
        bad.check()
        bad.check_filtered(self.max_filtered, "allow more with --source.max-filtered")

    def pairs(self, bad: RowStats) -> Iterator[Pair]:
        """Each instruction with its answer preferred to a refusal: what keeps a model helpful (kind `helpful`)."""
        for row in self.instructions(bad):
            refusal = refusal_of(row.instruction)
            yield Pair(row.instruction, row.context, row.response, refusal, "helpful")
