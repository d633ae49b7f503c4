"""correct: as right as the source's own judge finds the answer (tinyworld: exact)."""

from neogpt import plugins
from neogpt.errors import ConfigError
from neogpt.objectives.rewards._base import Answer, Known


def reward(answer: Answer, known: Known) -> float:
    """What the source's function `score(config, prompt, text, stopped)` gives; ConfigError where it has none."""
    source = plugins.get("neogpt.data.sources", known.source_name)
    if not hasattr(source, "score"):
        raise ConfigError(
            f"the source {known.source_name} cannot say which answers are correct",
            "a source with a function score(), such as tinyworld",
            "--objective.rewards without correct",
        )
    value: float = source.score(known.source, answer.prompt, answer.text, answer.stopped)
    return value
