"""The SFT mix-in: good answers learned beside a reward, so that what it does not ask for stays.

Without it a reward erases whatever it does not pay for: on tinyworld, refusals and knowledge (`docs/log.md`).
The method is InstructGPT's "ptx" term (Ouyang et al. 2022), on answers in place of plain text.
"""

from collections.abc import Collection, Iterator

import numpy as np

from neogpt.batching import micro_size
from neogpt.config import AnyRun
from neogpt.data.batch import Batch
from neogpt.data.permutation import sample_ids
from neogpt.data.source import HasInstructions, HasPairs
from neogpt.data.split import is_held_out
from neogpt.errors import DataError
from neogpt.objectives.batching import pad
from neogpt.objectives.split import Split, instructions, pairs
from neogpt.records import Instruction, Pair, RowStats
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import Turn, encode_example

PromptResponse = tuple[list[int], list[int]]
"""The ids of a prompt (with all turns before) and of its answer."""
_KEY = 0x2E4EA2
"""Sets the order of these answers apart from that of the prompts."""


class SFTMix:
    """The source's chosen answers (of its pairs, or else of its instructions), `rows` of them a step.

    Requests in `trained_by_rl` are left out: how they are to be answered is what the reward says. A part is held out by
    a hash of the prompt. `data_counts` counts what there is, was cut, and was filtered.
    """

    def __init__(
        self,
        run: AnyRun,
        tokenizer: Tokenizer,
        rows: int,
        limit: int,
        val_fraction: float,
        trained_by_rl: Collection[str],
    ) -> None:
        self.rows, self.eot_id, self.limit, self.key = rows, tokenizer.eot_id, limit, run.seed ^ _KEY
        self.micro_rows = micro_size(rows, run.batch.micro_batches)
        bad, split = RowStats(), Split[PromptResponse](val_fraction)
        for item, response in _answers(run, bad):
            if item.instruction in trained_by_rl:
                continue
            prompt, answer = _row(tokenizer, item, response)
            if reason := _useless(prompt, response, limit):
                split.filtered(reason)
                continue
            split.counts["truncated"] += len(prompt) + len(answer) > limit + 1
            split.add(item, prompt, (prompt, answer[: limit + 1 - len(prompt)]))
        self.train, self.held_out, found = split.train, split.held_out, split.data_counts("sft_mix", bad)
        self.data_counts = {k if k.startswith("sft_mix") else f"sft_mix, {k}": n for k, n in found.items()}
        if not self.train or not self.held_out:
            raise DataError(
                f"the source {run.source.kind} has too few answers for the SFT mix-in",
                "answers beside those to the trained_by_rl requests, in training and held out",
                "--objective.val-fraction 0.2",
                code="data.too_few_answers",
            )

    def batch(self, step: int, micro: int) -> Batch:
        """Micro-batch `micro` of the answers of update number `step`."""
        ids = sample_ids(step, self.rows, len(self.train), self.key)
        mine = ids[micro * self.micro_rows : (micro + 1) * self.micro_rows]
        return pad([self.train[i] for i in mine], self.eot_id, self.limit)

    @property
    def prompts(self) -> list[list[int]]:
        """The ids of the held-out prompts, each once."""
        return [list(ids) for ids in dict.fromkeys(tuple(prompt) for prompt, _ in self.held_out)]

    def validation_batch(self, ids: np.ndarray) -> Batch:
        """The held-out answers with these numbers."""
        return pad([self.held_out[i] for i in ids], self.eot_id, self.limit)


def human_answers(run: AnyRun, tokenizer: Tokenizer, limit: int, val_fraction: float) -> list[PromptResponse]:
    """Held-out answers as people write them who help: those of the source's instructions; none where it has none.

    The answers of the mix-in would be no measure of good prose: there are refusals in it, and answers from templates.
    """
    if not isinstance(run.source, HasInstructions):
        return []
    items = (item for item in instructions(run.source, RowStats()) if is_held_out(item, val_fraction))
    rows = ((item.response, *_row(tokenizer, item, item.response)) for item in items)
    return [
        (prompt, answer[: limit + 1 - len(prompt)])
        for response, prompt, answer in rows
        if not _useless(prompt, response, limit)
    ]


def _row(tokenizer: Tokenizer, item: Instruction | Pair, response: str) -> PromptResponse:
    history = [Turn(turn.instruction, turn.context, turn.response) for turn in item.history]
    return encode_example(tokenizer, item.instruction, item.context, response, history)


def _useless(prompt: list[int], response: str, limit: int) -> str:
    """Why there is nothing to learn in `limit` tokens; "" where there is something."""
    if len(prompt) >= limit:
        return "prompt too long"
    return "" if response.strip() else "blank answer"


def _answers(run: AnyRun, bad: RowStats) -> Iterator[tuple[Instruction | Pair, str]]:
    """What the source prefers, or else its instructions, each with the answer to learn."""
    if isinstance(run.source, HasPairs):
        yield from ((pair, pair.chosen) for pair in pairs(run.source, bad))
    else:
        yield from ((item, item.response) for item in instructions(run.source, bad))
