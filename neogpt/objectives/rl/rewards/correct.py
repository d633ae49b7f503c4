"""As right as the source's own judge finds the answer (tinyworld: exact)."""

import functools
from types import ModuleType

from neogpt import plugins
from neogpt.errors import ConfigError
from neogpt.objectives.rl.rewards.base import Answer, Known


def reward(answer: Answer, known: Known) -> float:
    """What the source's function `score(config, prompt, text, stopped)` gives; ConfigError where it has none."""
    judge = _source(known.source_name)
    value: float = judge.score(known.source, answer.prompt, answer.text, answer.stopped)
    return value


@functools.cache
def _source(name: str) -> ModuleType:
    source = plugins.get("neogpt.data.sources", name)
    if not hasattr(source, "score"):
        raise ConfigError(
            f"the source {name} cannot say which answers are correct",
            "a source with a function score(), such as tinyworld",
            "--objective.rewards without correct",
        )
    return source
