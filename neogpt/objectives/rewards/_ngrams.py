"""Runs of n tokens or words: how many come again, and how many are copied."""

from collections.abc import Hashable, Sequence


def ngrams(tokens: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    """All runs of n tokens, in order."""
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def repeated_share(tokens: Sequence[Hashable], n: int) -> float:
    """The share of runs that stood there before: 0 where all differ, or where there is none."""
    found = ngrams(tokens, n)
    return 1 - len(set(found)) / len(found) if found else 0.0


def copied_share(tokens: Sequence[Hashable], source: Sequence[Hashable], n: int) -> float:
    """The share of runs that stand in `source` too."""
    known, found = set(ngrams(source, n)), ngrams(tokens, n)
    return sum(run in known for run in found) / len(found) if found else 0.0
