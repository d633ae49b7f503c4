"""What sources yield, and the quarantine that counts the rows which cannot be used."""

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
class Quarantine:
    """Counts rows, *broken* rows (they cannot be read) and *refused* rows (readable, but of no use).

    Broken rows mean damaged files, so more than 1 % of them is an error. Refused rows (blank, duplicate,
    without a preference) are a property of the data set; its source says how many are too many.
    """

    rows: int = 0
    broken: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    shown: list[BadRow] = field(default_factory=list)

    def row(self) -> None:
        """Count a row, whatever becomes of it."""
        self.rows += 1

    def reject(self, file: str, line: int, reason: str) -> None:
        """Count a row that cannot be read."""
        self.broken += 1
        self._note(file, line, reason)

    def refuse(self, file: str, line: int, reason: str) -> None:
        """Count a row that can be read and is of no use."""
        self.refused += 1
        self._note(file, line, reason)

    def check(self, limit: float = 0.01) -> None:
        """Raise DataError when more than `limit` of the rows are broken."""
        if self.broken > limit * self.rows:
            missing = any(reason.startswith("no column") for reason in self.reasons)
            raise self._error(self.broken, "broken", limit, _NAME if missing else _MEND)

    def check_refused(self, limit: float, hint: str) -> None:
        """Raise DataError when more than `limit` of the rows are refused; `hint` says how to allow more."""
        if self.refused > limit * self.rows:
            raise self._error(self.refused, "of no use", limit, hint)

    def merge(self, other: "Quarantine") -> None:
        """Add the counts of another quarantine, whose rows come after these."""
        self.rows += other.rows
        self.broken += other.broken
        self.refused += other.refused
        self.reasons.update(other.reasons)
        self.shown = (self.shown + other.shown)[:SHOWN]

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain values for JSON."""
        return {**asdict(self), "reasons": dict(sorted(self.reasons.items()))}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Quarantine":
        """The quarantine that `to_dict` wrote."""
        shown = [BadRow(**row) for row in values["shown"]]
        return cls(**{**values, "reasons": Counter(values["reasons"]), "shown": shown})

    def _note(self, file: str, line: int, reason: str) -> None:
        self.reasons[re.split("[:;]", reason)[0]] += 1  # what varies from row to row stands behind those
        if len(self.shown) < SHOWN:
            self.shown.append(BadRow(file, line, reason))

    def _error(self, count: int, what: str, limit: float, hint: str) -> DataError:
        first = "".join(f"\n    {row}" for row in self.shown[:5])
        return DataError(
            f"{count:,} of {self.rows:,} rows are {what}; the first:{first}", f"at most {limit:.0%}", hint
        )
