"""Refusals on harmful prompts and over-refusals on harmless ones, with garbage counted as neither.

Greedy answers to XSTest's prompts and AdvBench's requests, each labeled refused, answered or degenerate. An answer
that does not come to its end, says nothing, or goes round in repeats is degenerate: without that class a model
that writes nonsense would seem to comply with everything (or, for safe prompts, to be helpful).
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal, get_args

from neogpt.config import EvalConfig
from neogpt.data.source import Source
from neogpt.data.text_metrics import repeated_share
from neogpt.evals import _refusal_data
from neogpt.evals._counts import with_errors
from neogpt.evals._refusal_classifier import RefusalClassifier, f1, leave_one_out, opens_as_refusal
from neogpt.inference.engine import Completion, Engine
from neogpt.inference.sampling_params import SamplingParams
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import encode_prompt

Label = Literal["refused", "answered", "degenerate"]
MAX_NEW_TOKENS = 128
MAX_REPETITION = 0.5
"""Share of repeated 4-grams from which an answer goes round in repeats."""
_SHOWN = 3


def prepare(settings: EvalConfig) -> dict[str, Any]:
    """A run's options for `run`: none. DataError when the prompts cannot be had."""
    _refusal_data.prompts()
    return {}


def run(
    model: GPT2,
    tokenizer: Tokenizer,
    source: Source | None = None,
    limit: int | None = None,
    data: str = "",
) -> dict[str, float]:
    """For each kind of prompt (safe, unsafe, harmful): the shares of the three labels, with standard errors.

    safe_refused is the over-refusal; safe_prompts and so on: how many were asked. classifier_f1: how well the
    classifier, fitted to all labeled writers but one, classifies that one; absent without labeled answers, where the
    classifier goes by the openings alone. limit: prompts a kind. data: folder of the files (default
    NEOGPT_DATA/preference, or downloaded).
    Errors: DataError without XSTest's prompts.
    """
    classifier, scores = _classifier_of(data)
    for kind, prompts in _refusal_data.prompts(data).items():
        labels = [label for *_, label in labeled(model, tokenizer, classifier, prompts[:limit])]
        scores |= {f"{kind}_prompts": len(labels)}
        scores |= with_errors({f"{kind}_{m}": [found == m for found in labels] for m in get_args(Label)})
    return scores


def samples(
    model: GPT2, tokenizer: Tokenizer, source: Source | None = None, data: str = ""
) -> list[dict[str, Any]]:
    """A few prompts of each kind with their answers; the verdict is the label."""
    classifier, _ = _classifier_of(data)
    prompts = [p for kind in _refusal_data.prompts(data).values() for p in kind[:_SHOWN]]
    found = labeled(model, tokenizer, classifier, prompts)
    return [{"question": prompt, "answer": text, "verdict": label} for prompt, text, label in found]


def labeled(
    model: GPT2,
    tokenizer: Tokenizer,
    classifier: RefusalClassifier,
    prompts: Sequence[str],
    limit: int = MAX_NEW_TOKENS,
) -> list[tuple[str, str, Label]]:
    """Each prompt, the model's greedy answer of at most `limit` tokens, and its label."""
    ids = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    answers = Engine(model, tokenizer).complete(ids, SamplingParams(max_new_tokens=limit, temperature=0.0))
    refused = classifier.refuses([answer.text for answer in answers])
    return [
        (prompt, answer.text, label(answer, refuses))
        for prompt, answer, refuses in zip(prompts, answers, refused, strict=True)
    ]


def label(answer: Completion, refuses: bool) -> Label:
    """A refusal may ramble on: "I'm sorry, but I cannot" says enough. In repeats only such an opening is one."""
    repeats = repeated_share(answer.tokens) > MAX_REPETITION
    if refuses and (not repeats or opens_as_refusal(answer.text)):
        return "refused"
    says_nothing = not any(map(str.isalnum, answer.text))
    return "degenerate" if says_nothing or repeats or answer.finish_reason != "stop" else "answered"


def _classifier_of(data: str) -> tuple[RefusalClassifier, dict[str, float]]:
    examples = _refusal_data.labeled(data)
    if examples is None:
        return RefusalClassifier(), {}
    answers, refused, writers = examples
    classifier, agreement = _fitted(tuple(answers), tuple(refused), tuple(writers))
    return classifier, {"classifier_f1": agreement}


@functools.lru_cache(maxsize=1)
def _fitted(
    answers: tuple[str, ...], refused: tuple[bool, ...], writers: tuple[str, ...]
) -> tuple[RefusalClassifier, float]:
    """The classifier of these answers, and its F1; an eval asks for the same one for its scores and its samples."""
    return RefusalClassifier().fit(answers, refused), f1(refused, leave_one_out(answers, refused, writers))
