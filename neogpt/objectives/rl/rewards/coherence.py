"""As likely a token, under the frozen model, as people's answers are; neither less nor more.

Likelihood alone would be gamed: a loop is the likeliest text there is. So too likely earns as little as too
unlikely, and what comes again within the answer is taken off, since a model expects its own repetitions.
"""

from neogpt.data.text_metrics import repeated_share, words
from neogpt.objectives.rl.rewards.base import Answer, Known

NEEDS = "log_probs"
FALL = 2.0
"""Standard deviations beyond the band at which nothing is left."""


def reward(answer: Answer, known: Known) -> float:
    """1 within one standard deviation of people's mean log-probability a token, 0 from three on, on both sides."""
    if not words(answer.text):
        return 0.0
    mean, deviation = known.human.log_prob
    own = sum(answer.log_probs) / len(answer.log_probs)
    beyond = max(0.0, abs(own - mean) / max(deviation, 1e-6) - 1)
    return max(0.0, 1 - beyond / FALL) * (1 - repeated_share(answer.tokens, 3))
