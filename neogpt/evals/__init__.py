"""Evals by name: `neogpt list evals`. See `neogpt.evals.base` for what one is.

An entry names an eval and, after a colon, its options: `hellaswag`, `hellaswag:limit=100,style=lm-eval`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from neogpt import plugins
from neogpt.errors import ConfigError
from neogpt.evals.base import AnyEval, Config, Subject, WithSamples
from neogpt.ledger import Row
from neogpt.outcomes import Outcomes

if TYPE_CHECKING:
    from neogpt.config import AnyRun
    from neogpt.model import GPT2
    from neogpt.tokenizer import Tokenizer
    from neogpt.train.parallel.distributed import World

PACKAGE = "neogpt.evals"
Found = tuple[dict[str, float | Outcomes], list[Row]]
"""Scores as `eval/score`, and rows of sample answers."""


def kind(name: str) -> type[AnyEval]:
    """The class of the eval with that name; ConfigError names the nearest when there is none."""
    found: type[AnyEval] = plugins.get(PACKAGE, name).EVAL
    return found


def options(name: str) -> dict[str, object]:
    """An eval's options with their defaults."""
    return {field.name: field.default for field in dataclasses.fields(kind(name).config_class)}


def parse(entry: str) -> tuple[str, Config]:
    """The name and the options of an entry `NAME` or `NAME:option=value,option=value`.

    Of a list the values are separated by commas too: `lm-eval:tasks=hellaswag,piqa,limit=10`. Errors: ConfigError for
    an unknown eval or option, or a value of another type.
    """
    name, colon, text = entry.partition(":")
    name = name.replace("_", "-")
    made = kind(name).config_class
    known = get_type_hints(made)
    values: dict[str, Any] = {}
    for part in re.split(r",(?=\w+=)", text) if colon else ():
        option, equals, value = part.partition("=")
        if not equals or option not in known:
            example = f"{name}:{next(iter(known))}=10"
            raise ConfigError(
                f"{entry}: {name} has no option {option!r}",
                f"some of {', '.join(known)}, as in {example}",
                code="eval.no_such_option",
            )
        values[option] = _value(known[option], value, f"{entry}: {option}")
    return name, made(**values)


def _value(type_: Any, text: str, place: str) -> object:
    """`text` as an option's type: int, str, one of several words, or a list of words."""
    if type_ is int:
        if not re.fullmatch(r"\d+", text):
            raise ConfigError(f"{place} is {text!r}", "a whole number", code="eval.bad_option")
        return int(text)
    if get_origin(type_) is Literal and text not in get_args(type_):
        raise ConfigError(
            f"{place} is {text!r}", f"one of {', '.join(get_args(type_))}", code="eval.bad_option"
        )
    return tuple(filter(None, text.split(","))) if get_origin(type_) is tuple else text


def load(entries: Iterable[str], subject: Subject) -> dict[str, AnyEval]:
    """The evals of the entries by their names, ready to measure `subject`.

    Errors: ConfigError as `parse`, and for an eval that is named twice.
    """
    found: dict[str, AnyEval] = {}
    for entry in entries:
        name, config = parse(entry)
        if name in found:
            raise ConfigError(
                f"the eval {name} is named twice",
                "each eval once, with all its options",
                code="eval.named_twice",
            )
        found[name] = kind(name)(config, subject)
    return found


def evaluate(evals: Mapping[str, AnyEval], model: GPT2, tokenizer: Tokenizer, world: World) -> Found:
    """The scores of the evals as `eval/score`, and their sample answers as rows with the eval's name.

    All processes of `world` call this with the same model, and each does its share. All get the same, but for evals
    that are not shared, which only the main process runs.
    """
    scores: dict[str, float | Outcomes] = {}
    samples: list[Row] = []
    for name, eval_ in evals.items():
        if eval_.is_shared or world.is_main:
            found = eval_.run(model, tokenizer, world)
            scores |= {f"{name.replace('-', '_')}/{key}": value for key, value in found.items()}
            if isinstance(eval_, WithSamples):
                samples += [{"eval": name, **row} for row in eval_.samples(model, tokenizer, world)]
        if not eval_.is_shared:
            world.barrier()
    return scores, samples


def evaluator(run: AnyRun) -> Callable[[GPT2, Tokenizer, World], Found] | None:
    """The evals of a run's settings, as the training loop calls them; None when it has none.

    Errors: ConfigError for an unknown eval or option, and what an eval says that cannot run here.
    """
    evals = load(run.eval.names, _subject(run))
    for eval_ in evals.values():
        eval_.check()
    if not evals:
        return None
    return lambda model, tokenizer, world: evaluate(evals, model, tokenizer, world)


def _subject(run: AnyRun) -> Subject:
    from neogpt.objectives import sft  # start-up time: the command line checks names without it

    subject = Subject(source=run.source, stage=run.stage, val_samples=run.eval.val_samples, in_training=True)
    if isinstance(run.objective, sft.Config):
        subject = dataclasses.replace(subject, val_fraction=run.objective.val_fraction)
    return subject


def entry_of(name: str, entries: Sequence[str]) -> str | None:
    """The entry among a run's that names this eval; None where it runs it not."""
    return next((entry for entry in entries if entry.partition(":")[0].replace("_", "-") == name), None)
