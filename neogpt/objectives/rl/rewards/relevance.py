"""How much likelier the prompt makes the answer (mutual information), next to people's answers.

Saying the prompt again would be the cheapest way to depend on it, so what is copied from the prompt is taken off.
The measure is that of Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models".
"""

from neogpt.data.text_metrics import copied_share, ngrams, words
from neogpt.objectives.rl.rewards.base import Answer, Known
from neogpt.records import Instruction

NEEDS = "log_probs_alone"
_RUN = 4
"""Words in a row that make a copy; of a shorter answer, all that it has."""
_CHOICE = 3
"""Most words of something that a request offers."""


def reward(answer: Answer, known: Known) -> float:
    """The gain in log-probability a token from knowing the prompt, as a share of people's; 0 to 1."""
    own = words(answer.text)
    if not own:
        return 0.0
    n = len(answer.log_probs)
    gain = (sum(answer.log_probs) - sum(answer.log_probs_alone)) / n
    share = min(1.0, max(0.0, gain / max(known.human.gain, 1e-6)))
    return share * (1 - _copied(own, answer.prompt))


def _copied(own: list[str], prompt: Instruction) -> float:
    """The share of the answer's runs of words that stand in the prompt, in the same order, however they are spaced."""
    if _is_choice(own, words(prompt.instruction)):
        return 0.0
    turns = [text for turn in prompt.history for text in (turn.instruction, turn.context, turn.response)]
    parts = (prompt.instruction, prompt.context, *turns)
    return copied_share(own, [word for part in parts for word in words(part)], min(_RUN, len(own)))


def _is_choice(own: list[str], request: list[str]) -> bool:
    """Whether the answer is what the request offers ("yes or no", "tope or rope"): to choose is no copying."""
    offered = ngrams(request, len(own) + 1)
    return len(own) <= _CHOICE and ((*own, "or") in offered or ("or", *own) in offered)
