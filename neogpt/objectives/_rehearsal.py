"""Rehearsal: good answers that are learned by heart beside a reward, so that what it does not ask for stays.

Without it a reward erases whatever it does not pay for: on tinyworld, refusals and knowledge (`docs/log.md`).
The method is InstructGPT's "ptx" term (Ouyang et al. 2022), on answers in place of plain text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from neogpt import plugins
from neogpt.config import AnyRun
from neogpt.data.batch import Batch
from neogpt.data.order import sample_ids
from neogpt.data.records import Instruction, Pair, Quarantine
from neogpt.data.split import held_out, opening
from neogpt.errors import DataError
from neogpt.objectives._base import micro_size, pad
from neogpt.objectives._split import Split, read
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import Turn, encode_example

Row = tuple[list[int], list[int]]
"""The ids of a prompt (with all turns before) and of its answer."""
_KEY = 0x2E4EA2
"""Sets the order of rehearsal apart from that of the prompts."""


class Rehearsal:
    """The source's chosen answers (of its pairs, or else of its instructions), `rows` of them a step.

    Requests in `practised` are left out: how they are to be answered is what the reward says. A part is held out by
    a hash of the prompt.
    """

    def __init__(
        self,
        run: AnyRun,
        tokenizer: Tokenizer,
        rows: int,
        limit: int,
        val_fraction: float,
        practised: Collection[str],
    ) -> None:
        self.rows, self.eot_id, self.key = rows, tokenizer.eot_id, run.seed ^ _KEY
        self.micro_rows = micro_size(rows, run.batch.micro_batches)
        split = Split[Row](val_fraction)
        for item, response in _answers(run):
            row = _row(tokenizer, item, response, limit) if item.instruction not in practised else None
            if row:
                split.add(item, row[0], row)
        self.train, self.held_out = split.train, split.held_out
        self.notes = {"rehearsed": len(self.train), **split.kinds("rehearsed")}
        if not self.train or not self.held_out:
            raise DataError(
                f"the source {run.source_name} has too few answers to rehearse",
                "answers beside those to the practised requests, in training and held out",
                "--objective.val-fraction 0.2",
            )

    def batch(self, step: int, micro: int) -> Batch:
        """Micro-batch `micro` of the rehearsal of update number `step`."""
        ids = sample_ids(step, self.rows, len(self.train), self.key)
        mine = ids[micro * self.micro_rows : (micro + 1) * self.micro_rows]
        return pad([self.train[i] for i in mine], self.eot_id)

    @property
    def prompts(self) -> list[list[int]]:
        """The ids of the held-out prompts, each once."""
        return [list(ids) for ids in dict.fromkeys(tuple(prompt) for prompt, _ in self.held_out)]

    def validation_batch(self, ids: np.ndarray) -> Batch:
        """The held-out answers with these numbers."""
        return pad([self.held_out[i] for i in ids], self.eot_id)


def human_answers(run: AnyRun, tokenizer: Tokenizer, limit: int, val_fraction: float) -> list[Row]:
    """Held-out answers as people write them who help: those of the source's instructions; none where it has none.

    What is rehearsed would be no measure of good prose: there are refusals in it, and answers from templates.
    """
    if not hasattr(plugins.get("neogpt.data.sources", run.source_name), "instructions"):
        return []
    items: Iterator[Instruction] = read(run, "instructions", Quarantine())
    rows = (
        _row(tokenizer, item, item.response, limit) for item in items if held_out(opening(item), val_fraction)
    )
    return [row for row in rows if row]


def _row(tokenizer: Tokenizer, item: Instruction | Pair, response: str, limit: int) -> Row | None:
    """The ids, cut at `limit`; None where the answer is blank or the prompt leaves no room for it."""
    history = [Turn(turn.instruction, turn.context, turn.response) for turn in item.history]
    prompt, answer = encode_example(tokenizer, item.instruction, item.context, response, history)
    return (prompt, answer[: limit + 1 - len(prompt)]) if response.strip() and len(prompt) < limit else None


def _answers(run: AnyRun) -> Iterator[tuple[Instruction | Pair, str]]:
    """What the source prefers, or else its instructions, each with the answer to learn."""
    bad = Quarantine()
    if hasattr(plugins.get("neogpt.data.sources", run.source_name), "pairs"):
        yield from ((pair, pair.chosen) for pair in read(run, "pairs", bad))
    else:
        yield from ((item, item.response) for item in read(run, "instructions", bad))
