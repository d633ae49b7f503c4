"""One file is one eval: `run(model, tokenizer, source, limit)` gives scores by name, `samples` shows answers."""

from collections.abc import Callable, Sequence
from typing import Any

from neogpt import plugins
from neogpt.config import AnyRun, SourceConfig
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer

Scores = dict[str, float]


def evaluate(
    names: Sequence[str],
    model: GPT2,
    tokenizer: Tokenizer,
    source: SourceConfig | None = None,
    limit: int | None = None,
) -> tuple[Scores, list[dict[str, Any]]]:
    """The scores of the named evals as `eval/score`, and their sample answers as rows with the eval's name."""
    scores: Scores = {}
    samples: list[dict[str, Any]] = []
    for name in names:
        module = plugins.get("neogpt.evals", name)
        results = module.run(model, tokenizer, source, limit)
        scores.update({f"{name}/{key}": value for key, value in results.items()})
        if hasattr(module, "samples"):
            samples += [{"eval": name, **row} for row in module.samples(model, tokenizer, source)]
    return scores, samples


def evaluator(settings: AnyRun) -> Callable[[GPT2, Tokenizer], tuple[Scores, list[dict[str, Any]]]] | None:
    """The evals of a run's settings, as the training loop calls them; None when it has none."""
    if not settings.eval.names:
        return None
    for name in settings.eval.names:
        plugins.get("neogpt.evals", name)
    return lambda model, tokenizer: evaluate(settings.eval.names, model, tokenizer, settings.source)
