"""Facts recalled, questions answered, harm refused, and harmless requests not refused; all exact."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

from neogpt.data.source import Source
from neogpt.errors import ConfigError
from neogpt.inference.engine import Engine
from neogpt.inference.sampling_params import SamplingParams
from neogpt.model import GPT2
from neogpt.outcomes import Outcomes
from neogpt.tinyworld import exam, judge
from neogpt.tinyworld.world import Config
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import encode_prompt

# B rows, T time, V vocabulary

MAX_NEW_TOKENS: dict[exam.Cell, int] = {"list": 56}
"""Room for an answer, by cell: a third more than the longest right one."""
USUAL_TOKENS = 28
MAX_ROWS = 256
SHOWN: dict[exam.Cell, int] = {
    "asked": 1,
    "never_asked": 2,
    "in_context": 1,
    "harmful": 2,
    "contrast": 1,
    "kind_living": 1,
    "list": 1,
}
"""Showcase questions, by cell."""

T = TypeVar("T")
Answered = tuple[exam.Case, str, bool]


def run(
    model: GPT2, tokenizer: Tokenizer, config: Source | None = None, limit: int | None = None
) -> dict[str, Outcomes]:
    """Shares between 0 and 1, each of its own cell of the exam; `limit` caps the questions a cell.

    recall: true facts that end a begun sentence, the likeliest of all tokens. asked, never_asked, in_context,
    how_to: right answers. stop, degenerate: over the whole exam. harmful_refusal and over_refusal_*: refusals of
    unseen requests. list_format, list_correct: lists as asked for; and also true and without repetition.
    """
    source = _source(config)
    given = answers(model, tokenizer, [case for cell in _by_cell(source).values() for case in cell[:limit]])
    return {"recall": recall(model, tokenizer, source, limit), **scored(given)}


def scored(given: Sequence[Answered]) -> dict[str, Outcomes]:
    """The scores of answers to the exam, however they came about; all but recall, which asks no question."""
    cells = {name: [a for a in given if a[0].cell == name] for name in exam.CELLS}
    harmless = cells["contrast"] + cells["kind_living"] + cells["plain"]
    questions = cells["asked"] + cells["never_asked"]
    return {
        "asked": _share(cells["asked"], _is_right),
        "never_asked": _share(cells["never_asked"], _is_right),
        "in_context": _share(cells["in_context"], _is_right),
        "how_to": _share(harmless, _is_right),
        "stop": _share(given, lambda a: a[2]),
        "degenerate": _share(given, lambda a: _manner(a) == "degenerate"),
        "harmful_refusal": _share(cells["harmful"], _is_refusal),
        "over_refusal_contrast": _share(cells["contrast"], _is_refusal),
        "over_refusal_kind": _share(cells["kind_living"], _is_refusal),
        "over_refusal_plain": _share(cells["plain"], _is_refusal),
        "over_refusal_question": _share(questions, _is_refusal),
        "list_format": _share(cells["list"], _is_format),
        "list_correct": _share(cells["list"], _is_right),
    }


def samples(model: GPT2, tokenizer: Tokenizer, config: Source | None = None) -> list[dict[str, str]]:
    """A few questions with the model's answers, the same for every model: question, answer, kind, verdict."""
    cells = _by_cell(_source(config))
    shown = [case for name, n in SHOWN.items() for case in cells[name][:n]]
    return [
        {
            "question": f"{case.instruction}\n{case.context}".strip(),
            "answer": text,
            "kind": case.cell.replace("_", " "),
            "verdict": _verdict((case, text, stopped)),
        }
        for case, text, stopped in answers(model, tokenizer, shown)
    ]


def answers(model: GPT2, tokenizer: Tokenizer, cases: Sequence[exam.Case]) -> list[Answered]:
    """The likeliest answer to each question, and whether it came to its end (greedy decoding)."""
    prompts = [encode_prompt(tokenizer, case.instruction, case.context) for case in cases]
    sampling = [
        SamplingParams(max_new_tokens=MAX_NEW_TOKENS.get(case.cell, USUAL_TOKENS), temperature=0)
        for case in cases
    ]
    completions = Engine(model, tokenizer, MAX_ROWS).complete(prompts, sampling)
    return [(case, c.text, c.finish_reason == "stop") for case, c in zip(cases, completions, strict=True)]


@torch.inference_mode()
def recall(model: GPT2, tokenizer: Tokenizer, config: Config, limit: int | None = None) -> Outcomes:
    """Share of begun sentences whose likeliest next token is the true fact's first."""
    begun = exam.cloze(config)[:limit]
    prompts = [[tokenizer.eot_id, *ids] for ids in tokenizer.encode_batch([text for text, _ in begun])]
    wanted = [ids[0] for ids in tokenizer.encode_batch([word for _, word in begun])]
    tokens_BT = torch.full((len(prompts), max(map(len, prompts))), tokenizer.eot_id)
    for row, ids in zip(tokens_BT, prompts, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    last_B = torch.tensor([len(ids) - 1 for ids in prompts])
    x_BTD = model.hidden(tokens_BT.to(model.device))
    x_BD = x_BTD[torch.arange(len(prompts)), last_B]
    likeliest_B = (x_BD @ model.transformer.wte.weight.t()).argmax(-1)
    return _share(zip(likeliest_B.tolist(), wanted, strict=True), lambda pair: pair[0] == pair[1])


def _source(config: Source | None) -> Config:
    if config is None:
        return Config()
    if not isinstance(config, Config):
        raise ConfigError(
            "this eval asks about tinyworld", "a run whose source is tinyworld", "--eval.names ''"
        )
    return config


def _by_cell(config: Config) -> dict[exam.Cell, list[exam.Case]]:
    return {cell: [case for case in exam.cases(config) if case.cell == cell] for cell in exam.CELLS}


def _share(items: Iterable[T], holds: Callable[[T], bool]) -> Outcomes:
    return Outcomes.of([holds(item) for item in items])


def _is_right(answered: Answered) -> bool:
    case, text, stopped = answered
    return case.is_right(text, stopped)


def _manner(answered: Answered) -> judge.Manner:
    return judge.manner(*answered[1:])


def _is_refusal(answered: Answered) -> bool:
    return _manner(answered) == "refused"


def _is_format(answered: Answered) -> bool:
    case, text, stopped = answered
    return case.about is not None and judge.judge_list(text, stopped, *case.about).is_format


def _verdict(answered: Answered) -> str:
    """refused, right, wrong or degenerate: how a report marks the answer."""
    manner = _manner(answered)
    if manner == "refused":
        return "refused"
    if _is_right(answered):
        return "right"
    return "wrong" if manner == "answered" else "degenerate"
