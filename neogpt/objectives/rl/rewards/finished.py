"""1 where the answer ends by itself (its end-of-text is in the loss like any token)."""

from neogpt.data.text_metrics import words
from neogpt.objectives.rl.rewards.base import Answer, Known


def reward(answer: Answer, known: Known) -> float:
    """1 for an answer with words and an end, else 0: ending at once is no answer."""
    return float(answer.stopped and bool(words(answer.text)))
