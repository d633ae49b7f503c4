"""BLiMP: of two sentences that differ in one point of grammar, is the right one likelier? 67 x 1,000 pairs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from neogpt.config import EvalConfig
from neogpt.data.source import Source
from neogpt.evals import _cloze
from neogpt.evals._counts import with_errors
from neogpt.evals._tasks import TaskSet, text
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer
from neogpt.train.parallel.distributed import World

IS_SHARED = True
TASKS = TaskSet(
    "blimp",
    "hf://datasets/nyu-mll/blimp",
    "",
    67_000,
    ("sentence_good", "sentence_bad", "linguistics_term", "UID"),
)


def prepare(settings: EvalConfig) -> dict[str, Any]:
    """No options in training; DataError when the pairs cannot be had."""
    TASKS.read(task)
    return {}


@dataclass(frozen=True)
class Pair(_cloze.Cloze):
    """A good and a bad sentence, the phenomenon they show, and the paradigm they are made by."""

    term: str
    uid: str


def run(
    model: GPT2,
    tokenizer: Tokenizer,
    source: Source | None = None,
    limit: int | None = None,
    data: str = "",
    world: World | None = None,
) -> dict[str, float]:
    """acc over all pairs, `TERM/acc` over those of each phenomenon, bits_per_byte of good sentences; and their errors.

    Sentences stand behind end-of-text and a space, as lm-evaluation-harness has them (Warstadt et al. 2020, "BLiMP").
    limit: only so many pairs, as many of each paradigm as of the others. data: a file or folder of them. Errors:
    DataError as `TaskSet.read`.
    """
    pairs = _evenly(TASKS.read(task, data), limit)
    found = _cloze.values(model, tokenizer, pairs, world or World())
    terms = np.array([pair.term for pair in pairs])
    columns = {"acc": found[:, 0], "bits_per_byte": found[:, 2]}
    columns |= {f"{term}/acc": found[terms == term, 0] for term in sorted(set(terms.tolist()))}
    return with_errors({name: column.tolist() for name, column in columns.items()})


def task(values: Mapping[str, Any]) -> Pair:
    """A row of the data set."""
    sentences = (text(values, "sentence_good"), text(values, "sentence_bad"))
    return Pair("", sentences, 0, text(values, "linguistics_term"), text(values, "UID"))


def _evenly(pairs: list[Pair], limit: int | None) -> list[Pair]:
    """The first pair of each paradigm, then the second of each, ...: `limit` of them, in the files' order."""
    seen: Counter[str] = Counter()
    turns = []
    for i, pair in enumerate(pairs):
        turns.append((seen[pair.uid], i))
        seen[pair.uid] += 1
    return [pairs[i] for _, i in sorted(sorted(turns)[: limit or None], key=lambda turn: turn[1])]
