"""Answers to held-out instructions: loss, whether they end, length, repetition, ROUGE-L by category, refusals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from neogpt.data.source import HasInstructions, Source, need
from neogpt.data.sources import dolly
from neogpt.data.split import is_held_out, number, opening
from neogpt.data.text_metrics import repeated_share, rouge_l
from neogpt.errors import DataError
from neogpt.evals import base
from neogpt.evals._answers import ModelAnswer, answers
from neogpt.evals._counts import mean, with_errors
from neogpt.evals._refusal_classifier import opens_as_refusal
from neogpt.evals._sharing import mine, whole
from neogpt.inference.sampling_params import SamplingParams
from neogpt.records import Instruction, RowStats
from neogpt.tokenizer.template import Turn, encode_turns

if TYPE_CHECKING:
    from neogpt.model import GPT2
    from neogpt.objectives.batching import TokenRow
    from neogpt.tokenizer import Tokenizer
    from neogpt.train.parallel.distributed import World

LIMIT = 64
NEW_TOKENS = 128
_ROOM = 16  # a prompt that leaves less of the context is passed over
_ROWS = 8  # answers scored at once


class InstructionCase(NamedTuple):
    """A held-out request: the ids before the answer, the ids of the reference answer, and the record."""

    prompt: list[int]
    response: list[int]
    item: Instruction


class Instructions(base.Eval[base.Config]):
    """Held-out requests: the model's own where it was taught some, Dolly's elsewhere; `limit` of them (64)."""

    config_class = base.Config
    metrics = (
        base.Metric(
            "stop",
            base.ANSWERS,
            "Stops by itself, held-out instructions",
            "Greedy answers of at most 128 tokens that end when they are done.",
        ),
        base.Metric(
            "rouge_l",
            base.ANSWERS,
            "ROUGE-L, held-out instructions",
            "How much of a person's answer the model's has in the same order of words: 0 to 1.",
            form="number",
        ),
        base.Metric(
            "rouge_l/*",
            base.ANSWERS,
            "ROUGE-L, held-out instructions: {name}",
            "The same, for instructions of this kind.",
            form="number",
        ),
        base.Metric(
            "repetition",
            base.ANSWERS,
            "Repetition, held-out instructions",
            "Of all runs of four tokens in an answer, those that stood in it before.",
            "lower",
        ),
        base.Metric(
            "loss",
            base.ANSWERS,
            "Loss on people's answers, held-out instructions",
            "How surprised the model is by a token of the answer that a person gave, in nats.",
            "lower",
            "number",
        ),
        base.Metric(
            "perplexity",
            base.ANSWERS,
            "Perplexity of people's answers, held-out instructions",
            "e to the power of that loss: among how many equally likely tokens the model chooses, as it were.",
            "lower",
            "number",
        ),
        base.Metric(
            "tokens",
            base.ANSWERS,
            "Tokens an answer, held-out instructions",
            "Mean length of the greedy answers, which are cut off at 128.",
            "",
            "number",
        ),
        base.Metric(
            "refused",
            base.REFUSALS,
            "Over-refusal: held-out instructions",
            "Ordinary requests whose answer opens as a refusal; none of them calls for one.",
            "lower",
            is_over_refusal=True,
        ),
    )

    def run(self, model: GPT2, tokenizer: Tokenizer, world: World) -> dict[str, float]:
        """Scores of the greedy answers (at most 128 tokens) to up to `limit` (64) held-out requests.

        loss, perplexity: of the reference answers' tokens. stop: share of answers that end by themselves. tokens:
        mean length. repetition: share of 4-grams that stood before. rouge_l: against the reference answers, also by
        category. refused: share that open as a refusal, which none of these requests calls for. These five have
        standard errors (`_stderr`). The requests of a model that learnt instructions are those that were held out
        from it. Errors: DataError where none is held out, or none fits the model.
        """
        chosen = self._chosen(model, tokenizer)
        sampling = SamplingParams(max_new_tokens=NEW_TOKENS, temperature=0)
        found = answers(model, tokenizer, [case.prompt for case in chosen], sampling, world, LIMIT)
        rows = [(case.prompt, case.response) for case in chosen]
        loss = _loss(model, rows, tokenizer.eot_id, world)
        return {"loss": loss, "perplexity": math.exp(min(loss, 700)), **_of_answers(chosen, found)}

    def _chosen(self, model: GPT2, tokenizer: Tokenizer) -> list[InstructionCase]:
        subject, n_positions = self.subject, model.config.n_positions
        own = subject.stage == "sft" or subject.is_source_named
        data = subject.source if own and subject.source else dolly.Dolly()
        found = cases(tokenizer, data, subject.val_fraction, n_positions)[: self.config.limit or LIMIT]
        if not found:
            raise DataError(
                f"no held-out instruction fits {n_positions} tokens (held out: {subject.val_fraction:g} of them)",
                "at least one",
                _remedy(subject.val_fraction, own, subject.in_training),
                code="eval.no_room",
            )
        return found


EVAL = Instructions


def _of_answers(chosen: Sequence[InstructionCase], found: Sequence[ModelAnswer]) -> dict[str, float]:
    rouge = [rouge_l(case.item.response, answer.text) for case, answer in zip(chosen, found, strict=True)]
    scores = with_errors(
        {
            "stop": [answer.is_finished for answer in found],
            "tokens": [len(answer.tokens) for answer in found],
            "repetition": [repeated_share(answer.tokens) for answer in found],
            "rouge_l": rouge,
            "refused": [opens_as_refusal(answer.text) for answer in found],
        }
    )
    categories = sorted({case.item.category for case in chosen} - {""})
    for category in categories:
        own = [value for case, value in zip(chosen, rouge, strict=True) if case.item.category == category]
        scores[f"rouge_l/{category}"] = mean(own)
    return scores


def _remedy(val_fraction: float, own: bool, in_training: bool) -> str:
    """What to type where nothing can be asked: a command has no fraction to set, it has that of the run."""
    if not in_training:
        return "another eval, such as `neogpt eval MODEL samples`" + (
            ", or a run that held out more (--objective.val-fraction)" if own else ""
        )
    more = f"--objective.val-fraction {min(0.9, max(0.05, 2.5 * val_fraction)):g}, or " if own else ""
    return f"{more}--eval.names samples to leave this eval out"


def cases(
    tokenizer: Tokenizer, source: Source, val_fraction: float, n_positions: int
) -> list[InstructionCase]:
    """The held-out requests that fit, one for each opening, in the order of their hashes.

    So the first of them are held out at every fraction that holds out as many.
    """
    by_opening: dict[str, Instruction] = {}
    for item in need(source, HasInstructions).instructions(RowStats()):
        if is_held_out(item, val_fraction):
            by_opening.setdefault(opening(item), item)
    ordered = [by_opening[text] for text in sorted(by_opening, key=number)]
    return [case for case in (_case(tokenizer, item, n_positions) for item in ordered) if case.response]


def _case(tokenizer: Tokenizer, item: Instruction, n_positions: int) -> InstructionCase:
    """The item's ids; no response where the prompt leaves too little room for one."""
    turns = encode_turns(tokenizer, [*item.history, Turn(item.instruction, item.context, item.response)])
    *before, response = [part for turn in turns for part in turn]
    prompt = [token for part in before for token in part]
    room = n_positions + 1 - len(prompt)
    return InstructionCase(prompt, response[:room] if room > _ROOM else [], item)


def _loss(model: GPT2, rows: Sequence[TokenRow], fill: int, world: World) -> float:
    """-log p of a token of the responses, the mean over all of them; processes share the batches."""
    import torch  # start-up time

    from neogpt.objectives.batching import on_device, pad, token_loss

    rows = sorted(rows, key=lambda row: sum(map(len, row)))
    batches = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
    found = []
    for part in mine(batches, world):
        batch = pad(part, fill, model.config.n_positions)
        with torch.no_grad():
            loss = float(token_loss(model, on_device(batch, model.device)))
        found.append((loss, float(batch.weights.sum())))
    total, weight = 0.0, 0.0
    for loss, n_tokens in whole(found, world):
        total, weight = total + loss, weight + n_tokens
    return total / weight
