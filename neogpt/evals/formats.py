"""Whether answers have the form that was asked for: held-out requests of Dolly's, each with a form behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from neogpt.data.response_formats import OPEN, ResponseFormat, ask, asked, format_of
from neogpt.data.source import Source
from neogpt.data.sources import mix, rl_prompts
from neogpt.data.text_metrics import repeated_share
from neogpt.errors import DataError
from neogpt.evals import base
from neogpt.evals._answers import ModelAnswer, answers
from neogpt.evals._counts import with_errors
from neogpt.evals.instructions import cases
from neogpt.inference.sampling_params import SamplingParams
from neogpt.ledger import Row
from neogpt.objectives.rl.rewards import format as format_reward
from neogpt.objectives.rl.rewards.base import Answer, Known
from neogpt.records import Instruction
from neogpt.tokenizer.template import encode_prompt

if TYPE_CHECKING:
    from neogpt.model import GPT2
    from neogpt.tokenizer import Tokenizer
    from neogpt.train.parallel.distributed import World

LIMIT = 64
NEW_TOKENS = 64
FORMATS: tuple[ResponseFormat, ...] = (*OPEN, "yes or no")
_SHOWN = 2


class FormatCase(NamedTuple):
    """A request with its form behind it, and its ids."""

    format: ResponseFormat
    item: Instruction
    prompt: list[int]


class Formats(base.WithSamples[base.Config]):
    """Requests with a form behind them; `limit` is of each form (64)."""

    config_class = base.Config
    metrics = (
        base.Metric(
            "stop",
            base.ANSWERS,
            "Stops by itself, asked for a form",
            "Greedy answers of at most 64 tokens that end when they are done.",
        ),
        base.Metric(
            "followed",
            base.ANSWERS,
            "The form that was asked for",
            "One sentence, a numbered list, bullet points, or yes or no: held-out requests with a form behind them.",
        ),
        base.Metric(
            "one_sentence", base.ANSWERS, "One sentence, when asked for", "A whole one, and no more."
        ),
        base.Metric(
            "numbered_list", base.ANSWERS, "A numbered list, when asked for", "1., 2., ..., and nothing else."
        ),
        base.Metric("list", base.ANSWERS, "Bullet points, when asked for", "Two or more, and nothing else."),
        base.Metric("yes_or_no", base.ANSWERS, "Yes or no, when asked for", "The word alone."),
        base.Metric(
            "tokens",
            base.ANSWERS,
            "Tokens an answer, asked for a form",
            "Mean length of the greedy answers, which are cut off at 64.",
            "",
            "number",
        ),
        base.Metric(
            "repetition",
            base.ANSWERS,
            "Repetition, asked for a form",
            "Of all runs of four tokens in an answer, those that stood in it before.",
            "lower",
        ),
    )

    def run(self, model: GPT2, tokenizer: Tokenizer, world: World) -> dict[str, float]:
        """Scores of greedy answers of at most 64 tokens to up to `limit` (64) requests a form, with standard errors.

        one_sentence, numbered_list, list, yes_or_no: how many have the form, by the reward `format` (half a point for
        a list with other marks than dashes; one that was cut off has no form). followed: over all of them. stop,
        tokens, repetition: as in the eval `instructions`. Each request is asked once, in the form that its hash gives
        it (yes or no: the requests that this answers), so all answers are independent. The source `rl-prompts` never
        has them.
        """
        chosen = _asked(model, tokenizer, self.subject.source, self.config.limit or LIMIT)
        found = _answers(model, tokenizer, chosen, world)
        right = [_score(case, answer) for case, answer in zip(chosen, found, strict=True)]
        measured: dict[str, list[float]] = {"followed": right}
        for format in FORMATS:
            own = [value for case, value in zip(chosen, right, strict=True) if case.format == format]
            if own:
                measured[format.replace(" ", "_")] = own
        measured |= {
            "stop": [float(answer.is_finished) for answer in found],
            "tokens": [float(len(answer.tokens)) for answer in found],
            "repetition": [repeated_share(answer.tokens) for answer in found],
        }
        return with_errors(measured)

    def samples(self, model: GPT2, tokenizer: Tokenizer, world: World) -> list[Row]:
        """Two answers in each form; the verdict says whether they have it."""
        chosen = _asked(model, tokenizer, self.subject.source, _SHOWN)
        rows = []
        for case, answer in zip(chosen, _answers(model, tokenizer, chosen, world), strict=True):
            verdict = "followed" if _score(case, answer) == 1 else "not followed"
            rows.append({"question": case.item.instruction, "answer": answer.text, "verdict": verdict})
        return rows


EVAL = Formats


def _asked(model: GPT2, tokenizer: Tokenizer, source: Source | None, limit: int) -> list[FormatCase]:
    """The first `limit` requests of each form, by their hashes. DataError where none leaves room for an answer."""
    config = source if isinstance(source, rl_prompts.RLPrompts) else rl_prompts.RLPrompts()
    found = held_out(tokenizer, config, model.config.n_positions)
    chosen = [case for format in FORMATS for case in [c for c in found if c.format == format][:limit]]
    if not chosen:
        raise DataError(
            f"no request of Dolly's leaves {NEW_TOKENS} of {model.config.n_positions} tokens for its answer",
            "a model with a longer context",
            code="eval.no_room",
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


def _answers(
    model: GPT2, tokenizer: Tokenizer, chosen: Sequence[FormatCase], world: World
) -> list[ModelAnswer]:
    sampling = SamplingParams(max_new_tokens=NEW_TOKENS, temperature=0)
    return answers(model, tokenizer, [case.prompt for case in chosen], sampling, world)


def _score(case: FormatCase, answer: ModelAnswer) -> float:
    said = Answer(case.item, answer.text, answer.tokens, answer.is_finished, NEW_TOKENS)
    return format_reward.reward(said, Known(rl_prompts.RLPrompts()))
