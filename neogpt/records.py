"""What sources yield, and the counts of rows that cannot be used."""

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from neogpt.errors import DataError
from neogpt.tokenizer.template import Turn

SHOWN = 20
_MEND = "mend or remove those rows"
_NAME = (
    "--source.instruction-column NAME (sft, dpo) or --source.text-column NAME, where the source takes that"
)


@dataclass(frozen=True, slots=True)
class Document:
    """A text to pretrain on."""

    text: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """A request, the text it is about (may be empty), and the answer to learn.

    `history` holds the turns before it, whose answers are learned too; `weight` says how often an epoch sees it.
    `hold_out`: whether a held-out loss may ask for it. Not where nothing else teaches its answer, such as the one
    answer to a greeting: a model that never saw it can only guess, and its loss there says nothing of what it knows.
    """

    instruction: str
    context: str = ""
    response: str = ""
    category: str = ""
    history: tuple[Turn, ...] = ()
    weight: float = 1.0
    hold_out: bool = True


@dataclass(frozen=True, slots=True)
class Pair:
    """A request with the answer to prefer and the answer to avoid; `kind` groups pairs in reports.

    `history` holds the turns before it; `weight` says how often an epoch sees the pair. `hold_out`: as of Instruction.
    """

    instruction: str
    context: str = ""
    chosen: str = ""
    rejected: str = ""
    kind: str = ""
    history: tuple[Turn, ...] = ()
    weight: float = 1.0
    hold_out: bool = True


@dataclass(frozen=True, slots=True)
class BadRow:
    """Where an unusable row stands, and why it is unusable. Lines count from 1."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass
class RowStats:
    """Counts rows: *malformed* ones (they cannot be read) and *filtered* ones (readable, but of no use).

    Malformed rows mean damaged files, so more than 1 % of them is an error. Filtered rows (blank, duplicate,
    without a preference) are a property of the data set; its source says how many are too many.
    """

    rows: int = 0
    n_malformed: int = 0
    n_filtered: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    shown: list[BadRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the user should know of how the rows were read, such as the columns that were not."""

    def row(self) -> None:
        """Count a row, whatever becomes of it."""
        self.rows += 1

    def malformed(self, file: str, line: int, reason: str) -> None:
        """Count a row that cannot be read."""
        self.n_malformed += 1
        self._note(file, line, reason)

    def filtered(self, file: str, line: int, reason: str) -> None:
        """Count a row that can be read and is of no use."""
        self.n_filtered += 1
        self._note(file, line, reason)

    def check(self, limit: float = 0.01) -> None:
        """Raise DataError when more than `limit` of the rows are malformed."""
        if self.n_malformed > limit * self.rows:
            missing = any(reason.startswith("no column") for reason in self.reasons)
            raise self._error(self.n_malformed, "malformed", limit, _NAME if missing else _MEND)

    def check_filtered(self, limit: float, hint: str) -> None:
        """Raise DataError when more than `limit` of the rows are filtered; `hint` says how to allow more."""
        if self.n_filtered > limit * self.rows:
            raise self._error(self.n_filtered, "of no use", limit, hint)

    def merge(self, other: "RowStats") -> None:
        """Add the counts of others, whose rows come after these."""
        self.rows += other.rows
        self.n_malformed += other.n_malformed
        self.n_filtered += other.n_filtered
        self.reasons.update(other.reasons)
        self.shown = (self.shown + other.shown)[:SHOWN]
        self.notes += [note for note in other.notes if note not in self.notes]

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain values for JSON, in the names that prepared data on disk has."""
        return {
            "rows": self.rows,
            "broken": self.n_malformed,
            "refused": self.n_filtered,
            "reasons": dict(sorted(self.reasons.items())),
            "shown": [asdict(row) for row in self.shown],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RowStats":
        """The counts that `to_dict` gave."""
        shown = [BadRow(**row) for row in values["shown"]]
        reasons = Counter(values["reasons"])
        return cls(values["rows"], values["broken"], values["refused"], reasons, shown)

    def _note(self, file: str, line: int, reason: str) -> None:
        self.reasons[re.split("[:;]", reason)[0]] += 1  # what varies from row to row stands behind those
        if len(self.shown) < SHOWN:
            self.shown.append(BadRow(file, line, reason))

    def _error(self, count: int, what: str, limit: float, hint: str) -> DataError:
        first = "".join(f"\n    {row}" for row in self.shown[:5])
        return DataError(
            f"{count:,} of {self.rows:,} rows are {what}; the first:{first}",
            f"at most {limit:.0%}",
            hint,
            code="data.bad_rows",
        )
