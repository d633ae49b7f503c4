"""1 within the band of people's answers, falling to 0 towards nothing and towards the limit."""

from neogpt.data.text_metrics import words
from neogpt.objectives.rl.rewards.base import Answer, Known


def reward(answer: Answer, known: Known) -> float:
    """A wsd over the tokens: 0 at one (end-of-text alone), 1 in the band, 0 at the limit.

    An answer that was cut off stands at the limit, wherever the band ends: people may write longer than the model can.
    """
    if not answer.stopped or not words(answer.text):
        return 0.0
    shortest, longest = known.human.tokens
    n = len(answer.tokens)
    if n < shortest:
        return (n - 1) / (shortest - 1)
    if n <= longest:
        return 1.0
    return max(0.0, (answer.limit - n) / max(1.0, answer.limit - longest))
