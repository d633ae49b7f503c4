"""How much likelier the prompt makes the answer (mutual information), next to people's answers.

Saying the prompt again would be the cheapest way to depend on it, so what is copied from the request is taken off.
The measure is that of Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models".
"""

from neogpt.objectives.rewards._base import Answer, Known
from neogpt.objectives.rewards._ngrams import copied_share

NEEDS = "log_probs_alone"


def reward(answer: Answer, known: Known) -> float:
    """The gain in log-probability a token from knowing the prompt, as a share of people's; 0 to 1."""
    if not answer.text.strip():
        return 0.0
    n = len(answer.log_probs)
    gain = (sum(answer.log_probs) - sum(answer.log_probs_alone)) / n
    share = min(1.0, max(0.0, gain / max(known.human.gain, 1e-6)))
    return share * (1 - _copied(answer))


def _copied(answer: Answer) -> float:
    """The share of the answer's runs of four words that stand in the request."""
    words = {word: i for i, word in enumerate({*answer.text.lower().split(), *_request(answer)})}
    own = [words[word] for word in answer.text.lower().split()]
    return copied_share(own, [words[word] for word in _request(answer)], 4)


def _request(answer: Answer) -> list[str]:
    return answer.prompt.instruction.lower().split()
