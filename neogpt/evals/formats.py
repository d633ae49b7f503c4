"""Whether answers have the form that was asked for: held-out requests of Dolly's, each with a form behind it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from neogpt.data.response_formats import OPEN, ResponseFormat, ask, asked, format_of
from neogpt.data.source import Source
from neogpt.data.sources import mix, rl_prompts
from neogpt.data.text_metrics import repeated_share
from neogpt.errors import DataError
from neogpt.evals._counts import with_errors
from neogpt.evals.instructions import cases
from neogpt.inference.engine import Completion, Engine
from neogpt.inference.sampling_params import SamplingParams
from neogpt.model import GPT2
from neogpt.objectives.rl.rewards import format as format_reward
from neogpt.objectives.rl.rewards.base import Answer, Known
from neogpt.records import Instruction
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import encode_prompt

LIMIT = 64
NEW_TOKENS = 64
FORMATS: tuple[ResponseFormat, ...] = (*OPEN, "yes or no")
_ROWS = 64
_SHOWN = 2


class FormatCase(NamedTuple):
    """A request with its form behind it, and its ids."""

    format: ResponseFormat
    item: Instruction
    prompt: list[int]


def run(
    model: GPT2, tokenizer: Tokenizer, source: Source | None = None, limit: int | None = None
) -> dict[str, float]:
    """Scores of greedy answers of at most 64 tokens to up to `limit` (64) requests a form, with standard errors.

    one_sentence, numbered_list, list, yes_or_no: how many have the form, by the reward `format` (half a point for a
    list with other marks than dashes; one that was cut off has no form). followed: over all of them. stop, tokens,
    repetition: as in the eval `instructions`. Each request is asked once, in the form that its hash gives it (yes or
    no: the requests that this answers), so all answers are independent. The source `rl-prompts` never has them.
    """
    chosen = _asked(model, tokenizer, source, LIMIT if limit is None else limit)
    answers = _answers(model, tokenizer, chosen)
    right = [_score(case, answer) for case, answer in zip(chosen, answers, strict=True)]
    measured: dict[str, list[float]] = {"followed": right}
    for format in FORMATS:
        own = [value for case, value in zip(chosen, right, strict=True) if case.format == format]
        if own:
            measured[format.replace(" ", "_")] = own
    measured |= {
        "stop": [float(answer.finish_reason == "stop") for answer in answers],
        "tokens": [float(len(answer.tokens)) for answer in answers],
        "repetition": [repeated_share(answer.tokens) for answer in answers],
    }
    return with_errors(measured)


def samples(model: GPT2, tokenizer: Tokenizer, source: Source | None = None) -> list[dict[str, Any]]:
    """Two answers in each form; the verdict says whether they have it."""
    chosen = _asked(model, tokenizer, source, _SHOWN)
    rows = []
    for case, answer in zip(chosen, _answers(model, tokenizer, chosen), strict=True):
        verdict = "followed" if _score(case, answer) == 1 else "not followed"
        rows.append({"question": case.item.instruction, "answer": answer.text, "verdict": verdict})
    return rows


def _asked(model: GPT2, tokenizer: Tokenizer, source: Source | None, limit: int) -> list[FormatCase]:
    """The first `limit` requests of each form, by their hashes. DataError where none leaves room for an answer."""
    config = source if isinstance(source, rl_prompts.RLPrompts) else rl_prompts.RLPrompts()
    found = held_out(tokenizer, config, model.config.n_positions)
    chosen = [case for format in FORMATS for case in [c for c in found if c.format == format][:limit]]
    if not chosen:
        raise DataError(
            f"no request of Dolly's leaves {NEW_TOKENS} of {model.config.n_positions} tokens for its answer",
            "a model with a longer context",
        )
    return chosen


def held_out(tokenizer: Tokenizer, config: rl_prompts.RLPrompts, n_positions: int) -> list[FormatCase]:
    """The bare requests that `rl-prompts` leaves out and that ask for no form, each with its own behind it."""
    found = []
    for _, _, item in cases(tokenizer, mix.Mix(of=config.of), config.examined, n_positions):
        if rl_prompts.is_bare(item) and not asked(item.instruction):
            form = format_of(item.instruction)
            text = ask(item.instruction, form)
            found.append(FormatCase(form, Instruction(text), encode_prompt(tokenizer, text)))
    return [case for case in found if len(case.prompt) + NEW_TOKENS <= n_positions]


def _answers(model: GPT2, tokenizer: Tokenizer, chosen: Sequence[FormatCase]) -> list[Completion]:
    sampling = SamplingParams(max_new_tokens=NEW_TOKENS, temperature=0)
    return Engine(model, tokenizer, _ROWS).complete([case.prompt for case in chosen], sampling)


def _score(case: FormatCase, answer: Completion) -> float:
    stopped = answer.finish_reason == "stop"
    said = Answer(case.item, answer.text, answer.tokens, stopped, NEW_TOKENS)
    return format_reward.reward(said, Known(rl_prompts.RLPrompts()))
