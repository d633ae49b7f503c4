"""Training and held-out rows, apart: no prompt stands on both sides, and what is left out is counted."""

from collections import Counter
from collections.abc import Iterator
from typing import Generic, TypeVar

from neogpt.config import AnyRun
from neogpt.data.source import HasInstructions, HasPairs, HasPrompts, Source, need
from neogpt.data.split import copies, is_held_out, opening
from neogpt.errors import DataError
from neogpt.records import Instruction, Pair, RowStats

RowT = TypeVar("RowT")
RecordT = TypeVar("RecordT", Instruction, Pair)


class Split(Generic[RowT]):
    """Rows in the order in which they come, split by a hash of the text that opens the conversation.

    A prompt's rows stay together, so no answer to it is known from training. Prompts that differ only in what
    the template drops (white space at their ends) would have two hashes; such rows are taken out of training.
    """

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction
        self.counts: Counter[str] = Counter()
        self.held_out: list[RowT] = []
        self._train: list[tuple[tuple[int, ...], str, RowT]] = []
        self._held_out_prompts: set[tuple[int, ...]] = set()

    def add(self, item: Instruction | Pair, prompt: list[int], row: RowT) -> None:
        """One row and the ids of its first prompt."""
        text = opening(item)
        if is_held_out(item, self.fraction):
            self.held_out.append(row)
            self._held_out_prompts.add(tuple(prompt))
        else:
            kind = item.kind if isinstance(item, Pair) else ""
            self._train += [(tuple(prompt), kind, row)] * copies(text, item.weight)

    def filtered(self, reason: str) -> None:
        """Count a row that nothing could be learned from."""
        self.counts["filtered"] += 1
        self.counts[f"filtered, {reason}"] += 1

    @property
    def train(self) -> list[RowT]:
        """The training rows."""
        return [row for _, row in self._kept()]

    def kinds(self, name: str) -> dict[str, int]:
        """How many training rows, called `name`, are of each kind of pairs that has a name."""
        counts = Counter(kind for kind, _ in self._kept() if kind)
        return {f"{name}, {kind}": n for kind, n in sorted(counts.items())}

    def data_counts(self, kind: str, bad: RowStats) -> dict[str, int]:
        """What there is and what was left out, by name; `kind` names the training rows."""
        n_train = len(self.train)
        notes = {kind: n_train, **self.kinds(kind), "held_out": len(self.held_out)}
        notes |= {"truncated": self.counts["truncated"], "filtered": self.counts["filtered"]}
        more = {name: n for name, n in sorted(self.counts.items()) if name not in notes}
        more["also held out"] = len(self._train) - n_train
        more |= {"bad rows": bad.n_malformed + bad.n_filtered}
        more |= {f"bad rows, {reason}": n for reason, n in sorted(bad.reasons.items())}
        return notes | {name: n for name, n in more.items() if n}

    def _kept(self) -> Iterator[tuple[str, RowT]]:
        """The kind of each training row, and the row."""
        return ((kind, row) for prompt, kind, row in self._train if prompt not in self._held_out_prompts)


def instructions(source: Source, bad: RowStats) -> Iterator[Instruction]:
    """Those that an epoch sees at all; ConfigError where the source has none."""
    return _seen(need(source, HasInstructions).instructions(bad), bad)


def pairs(source: Source, bad: RowStats) -> Iterator[Pair]:
    """Those that an epoch sees at all; ConfigError where the source has none."""
    return _seen(need(source, HasPairs).pairs(bad), bad)


def prompts(source: Source, bad: RowStats) -> Iterator[Instruction]:
    """RL prompts that an epoch sees at all, or else instructions; ConfigError where the source has neither."""
    if isinstance(source, HasPrompts):
        return _seen(source.prompts(bad), bad)
    return instructions(source, bad)


def _seen(items: Iterator[RecordT], bad: RowStats) -> Iterator[RecordT]:
    yield from (item for item in items if copies(opening(item), item.weight))
    bad.check()


def none_left(run: AnyRun, what: str, limit: int, notes: dict[str, int]) -> DataError:
    """The error for a source of which nothing is left to train on."""
    counts = ", ".join(f"{name} {n:,}" for name, n in notes.items() if n) or "it has no rows"
    is_short = any("too long" in name for name in notes)
    return DataError(
        f"the source {run.source.kind} gave no {what} that fits {limit} tokens ({counts})",
        "a prompt and an answer",
        "--objective.max-tokens, or other data" if is_short else "other data, or other columns of it",
        code="data.nothing_fits",
    )
