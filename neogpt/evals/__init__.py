"""One file is one eval: `run(model, tokenizer, source, limit, ...)` gives scores by name, each a number or `Outcomes`.

It may also have `samples` (answers to show, by the same options as `run` but for the limit), `prepare` (its options
from a run's eval settings, and a first look whether it can run at all), `of_run` (options from all settings of a run),
and IS_SHARED, which says that all processes of a run take part.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neogpt import plugins
from neogpt.config import AnyRun
from neogpt.data.source import Source
from neogpt.model import GPT2
from neogpt.outcomes import Outcomes
from neogpt.tokenizer import Tokenizer
from neogpt.train.parallel.distributed import World

Scores = dict[str, float | Outcomes]
Options = Mapping[str, Mapping[str, Any]]
"""By eval: arguments that its `run` has beside the usual ones."""


def evaluate(
    names: Sequence[str],
    model: GPT2,
    tokenizer: Tokenizer,
    source: Source | None = None,
    limit: int | None = None,
    options: Options | None = None,
    world: World | None = None,
) -> tuple[Scores, list[dict[str, Any]]]:
    """The scores of the named evals as `eval/score`, and their sample answers as rows with the eval's name.

    All processes of `world` call this with the same model. Only the main one gets all scores: the others take
    part in the evals that are shared, and return what those give.
    """
    scores: Scores = {}
    samples: list[dict[str, Any]] = []
    world = world or World()
    for name in names:
        module = plugins.get("neogpt.evals", name)
        given = (options or {}).get(name, {})
        own = {"limit": limit, **given}
        if getattr(module, "IS_SHARED", False):
            own["world"] = world
        elif not world.is_main:
            continue
        results = module.run(model, tokenizer, source, **own)
        scores.update({f"{name.replace('-', '_')}/{key}": value for key, value in results.items()})
        if world.is_main and hasattr(module, "samples"):
            samples += [{"eval": name, **row} for row in module.samples(model, tokenizer, source, **given)]
    return scores, samples


def evaluator(
    settings: AnyRun,
) -> Callable[[GPT2, Tokenizer, World], tuple[Scores, list[dict[str, Any]]]] | None:
    """The evals of a run's settings, as the training loop calls them; None when it has none.

    Errors: ConfigError for an unknown eval, and what an eval says that cannot run here.
    """
    names = settings.eval.names
    modules = {name: plugins.get("neogpt.evals", name) for name in names}
    options = {name: m.prepare(settings.eval) for name, m in modules.items() if hasattr(m, "prepare")}
    options |= {name: m.of_run(settings) for name, m in modules.items() if hasattr(m, "of_run")}
    if not names:
        return None
    return lambda model, tokenizer, world: evaluate(
        names, model, tokenizer, settings.source, options=options, world=world
    )
