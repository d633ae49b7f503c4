"""As right as the source's own judge finds the answer (tinyworld: exact)."""

from neogpt.data.source import ScoresAnswers, need
from neogpt.objectives.rl.rewards.base import Answer, Known


def reward(answer: Answer, known: Known) -> float:
    """What the source's method `score` gives; ConfigError where the source cannot judge answers."""
    judge = need(known.source, ScoresAnswers, "--objective.rewards without correct")
    return judge.score(answer.prompt, answer.text, answer.stopped)
