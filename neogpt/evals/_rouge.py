"""ROUGE-L: how much of a reference answer a text has in the same order (Lin 2004)."""

import re
from collections.abc import Sequence

_WORD = re.compile(r"[a-z0-9]+")


def rouge_l(reference: str, text: str) -> float:
    """The F1 of the longest common subsequence of words, as the package rouge-score has it without stemming.

    Words are runs of ASCII letters and digits, in lower case. 0 where one of the two has no words.
    """
    wanted, found = _WORD.findall(reference.lower()), _WORD.findall(text.lower())
    common = common_subsequence(wanted, found)
    return 2 * common / (len(wanted) + len(found)) if common else 0.0


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest sequence that both have in order: one row of the table at a time."""
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for j, candidate in enumerate(other, start=1):
            above = row[j]
            row[j] = diagonal + 1 if word == candidate else max(above, row[j - 1])
            diagonal = above
    return row[-1]


def repetition(tokens: Sequence[int], n: int = 4) -> float:
    """The share of n-grams that stood in the text before; 0 for a text with less than two."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
