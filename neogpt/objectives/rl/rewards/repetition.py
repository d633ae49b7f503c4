"""1 where no three tokens come again, less by the share that does; nothing said earns nothing."""

from neogpt.data.text_metrics import repeated_share, words
from neogpt.objectives.rl.rewards.base import Answer, Known

N = 3


def reward(answer: Answer, known: Known) -> float:
    """1 - the share of repeated runs of three tokens (Yeo et al. 2025, turned round); 0 for no answer."""
    return 1 - repeated_share(answer.tokens, N) if words(answer.text) else 0.0
