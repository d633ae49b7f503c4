"""Answers to held-out instructions: loss, whether they end, length, repetition, ROUGE-L by category, refusals."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from neogpt.config import AnyRun
from neogpt.data.source import HasInstructions, Source, need
from neogpt.data.sources import dolly
from neogpt.data.split import is_held_out, number, opening
from neogpt.data.text_metrics import repeated_share, rouge_l
from neogpt.errors import DataError
from neogpt.evals._counts import mean, with_errors
from neogpt.evals._refusal_classifier import opens_as_refusal
from neogpt.inference.engine import Engine
from neogpt.inference.sampling_params import SamplingParams
from neogpt.model import GPT2
from neogpt.objectives.batching import TokenRow, on_device, pad, token_loss
from neogpt.records import Instruction, RowStats
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import Turn, encode_turns

LIMIT = 64
NEW_TOKENS = 128
_ROOM = 16  # a prompt that leaves less of the context is passed over
_ROWS = 8  # answers scored at once


class InstructionCase(NamedTuple):
    """A held-out request: the ids before the answer, the ids of the reference answer, and the record."""

    prompt: list[int]
    response: list[int]
    item: Instruction


def of_run(run: AnyRun) -> dict[str, Any]:
    """The options of a run: its own held-out instructions where it was taught some, Dolly's elsewhere."""
    own = run.stage == "sft"
    val_fraction = getattr(run.objective, "val_fraction", 0.02) if own else 0.02
    return {"own": own, "val_fraction": val_fraction, "in_training": True}


def run(
    model: GPT2,
    tokenizer: Tokenizer,
    source: Source | None = None,
    limit: int | None = None,
    own: bool = False,
    val_fraction: float = 0.02,
    in_training: bool = False,
) -> dict[str, float]:
    """Scores of the greedy answers ( at most 128 tokens) to up to `limit` (64) held-out requests.

    loss, perplexity: of the reference answers' tokens. stop: share of answers that end by themselves. tokens:
    mean length. repetition: share of 4-grams that stood before. rouge_l: against the reference answers, also by
    category. refused: share that open as a refusal, which none of these requests calls for. These five have standard
    errors (`_stderr`). `own`: the requests are the source's, held out as in
    training; else those of Dolly. `in_training`: a run asks, which has other flags than a command. Errors:
    DataError where none is held out, or none fits the model.
    """
    data = source if own and source else dolly.Dolly()
    chosen = cases(tokenizer, data, val_fraction, model.config.n_positions)
    chosen = chosen[: LIMIT if limit is None else limit]
    if not chosen:
        raise DataError(
            f"no held-out instruction fits {model.config.n_positions} tokens (held out: {val_fraction:g} of them)",
            "at least one",
            _remedy(val_fraction, own, in_training),
        )
    sampling = SamplingParams(max_new_tokens=NEW_TOKENS, temperature=0)
    found = Engine(model, tokenizer, LIMIT).complete([case.prompt for case in chosen], sampling)
    rouge = [rouge_l(case.item.response, answer.text) for case, answer in zip(chosen, found, strict=True)]
    loss = _loss(model, [(case.prompt, case.response) for case in chosen], tokenizer.eot_id)
    scores = {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700)),
        **with_errors(
            {
                "stop": [answer.finish_reason == "stop" for answer in found],
                "tokens": [len(answer.tokens) for answer in found],
                "repetition": [repeated_share(answer.tokens) for answer in found],
                "rouge_l": rouge,
                "refused": [opens_as_refusal(answer.text) for answer in found],
            }
        ),
    }
    categories = sorted({case.item.category for case in chosen} - {""})
    for category in categories:
        mine = [value for case, value in zip(chosen, rouge, strict=True) if case.item.category == category]
        scores[f"rouge_l/{category}"] = mean(mine)
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


def _loss(model: GPT2, rows: Sequence[TokenRow], fill: int) -> float:
    """-log p of a token of the responses, the mean over all of them."""
    rows = sorted(rows, key=lambda row: sum(map(len, row)))
    total, weight = 0.0, 0.0
    for start in range(0, len(rows), _ROWS):
        batch = pad(rows[start : start + _ROWS], fill, model.config.n_positions)
        weight += float(batch.weights.sum())
        with torch.no_grad():
            total += float(token_loss(model, on_device(batch, model.device)))
    return total / weight
