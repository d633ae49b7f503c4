"""What can be said of a text by counting: words, runs that come again or are copied, and ROUGE-L (Lin 2004)."""

import re
from collections.abc import Hashable, Sequence

_WORD = re.compile(r"[^\W_]+")
_ASCII_WORD = re.compile(r"[a-z0-9]+")


def words(text: str) -> list[str]:
    """Runs of letters and digits, in lower case; none where the text is punctuation alone."""
    return _WORD.findall(text.lower())


def ngrams(tokens: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    """All runs of n tokens, in order."""
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def repeated_share(tokens: Sequence[Hashable], n: int = 4) -> float:
    """The share of runs that stood there before: 0 where all differ, or where there is none."""
    found = ngrams(tokens, n)
    return 1 - len(set(found)) / len(found) if found else 0.0


def copied_share(tokens: Sequence[Hashable], source: Sequence[Hashable], n: int) -> float:
    """The share of runs that stand in `source` too."""
    known, found = set(ngrams(source, n)), ngrams(tokens, n)
    return sum(run in known for run in found) / len(found) if found else 0.0


def rouge_l(reference: str, text: str) -> float:
    """The F1 of the longest common subsequence of words, as the package rouge-score has it without stemming.

    Words are runs of ASCII letters and digits, in lower case. 0 where one of the two has no words.
    """
    wanted, found = _ASCII_WORD.findall(reference.lower()), _ASCII_WORD.findall(text.lower())
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
