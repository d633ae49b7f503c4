"""1 where no three tokens come again, less by the share that does; nothing said earns nothing."""

from neogpt.objectives.rewards._base import Answer, Known
from neogpt.objectives.rewards._ngrams import repeated_share
from neogpt.objectives.rewards._words import words

N = 3


def reward(answer: Answer, known: Known) -> float:
    """1 - the share of repeated runs of three tokens (Yeo et al. 2025, turned round); 0 for no answer."""
    return 1 - repeated_share(answer.tokens, N) if words(answer.text) else 0.0
