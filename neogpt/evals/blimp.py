"""BLiMP: of two sentences that differ in one point of grammar, is the right one likelier? 67 x 1,000 pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neogpt.evals import base
from neogpt.evals._counts import with_errors
from neogpt.evals._tasks import Cloze, TaskEval, TaskSet, bits_metric, text

if TYPE_CHECKING:
    from neogpt.model import GPT2
    from neogpt.tokenizer import Tokenizer
    from neogpt.train.parallel.distributed import World

TASKS = TaskSet(
    "blimp",
    "hf://datasets/nyu-mll/blimp",
    "",
    67_000,
    ("sentence_good", "sentence_bad", "linguistics_term", "UID"),
)


@dataclass(frozen=True)
class Pair(Cloze):
    """A good and a bad sentence, the phenomenon they show, and the paradigm they are made by."""

    term: str
    uid: str


class Blimp(TaskEval[Pair]):
    """Minimal pairs of 67 paradigms (Warstadt et al. 2020, "BLiMP"); `limit` takes as many of each as of the others."""

    tasks = TASKS
    metrics = (
        base.Metric(
            "acc", base.KNOWLEDGE, "BLiMP", "Of two sentences, is the right one more probable? Guessing: 50%."
        ),
        bits_metric("BLiMP"),
        base.Metric("*/acc", base.KNOWLEDGE, "BLiMP: {path}", "The same for one phenomenon of grammar."),
    )

    @staticmethod
    def task(values: Mapping[str, Any]) -> Pair:
        """A row of the data set."""
        sentences = (text(values, "sentence_good"), text(values, "sentence_bad"))
        return Pair("", sentences, 0, text(values, "linguistics_term"), text(values, "UID"))

    def read(self) -> list[Pair]:
        """As many pairs of each paradigm as of the others."""
        return _evenly(self.tasks.read(self.task, self.config.data), self.config.limit or None)

    def scores(
        self, model: GPT2, tokenizer: Tokenizer, tasks: Sequence[Pair], world: World
    ) -> dict[str, float]:
        """acc over all pairs, `TERM/acc` over those of each phenomenon, bits_per_byte of good sentences; and errors.

        Sentences stand behind end-of-text and a space, as lm-evaluation-harness has them.
        """
        from neogpt.evals import _cloze  # start-up time: torch

        found = _cloze.values(model, tokenizer, tasks, world)
        terms = np.array([pair.term for pair in tasks])
        columns = {"acc": found[:, 0], "bits_per_byte": found[:, 2]}
        columns |= {f"{term}/acc": found[terms == term, 0] for term in sorted(set(terms.tolist()))}
        return with_errors({name: column.tolist() for name, column in columns.items()})


EVAL = Blimp


def _evenly(pairs: list[Pair], limit: int | None) -> list[Pair]:
    """The first pair of each paradigm, then the second of each, ...: `limit` of them, in the files' order."""
    seen: Counter[str] = Counter()
    turns = []
    for i, pair in enumerate(pairs):
        turns.append((seen[pair.uid], i))
        seen[pair.uid] += 1
    return [pairs[i] for _, i in sorted(sorted(turns)[: limit or None], key=lambda turn: turn[1])]
