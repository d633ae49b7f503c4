"""1 where the answer has the form that the request asks for, by parsing both."""

import re

from neogpt.data.response_formats import asked
from neogpt.data.text_metrics import words
from neogpt.objectives.rl.rewards.base import Answer, Known

_DOTTED = re.compile(
    r"\b(?:(?:mr|mrs|ms|dr|prof|st|jr|sr|vs|e\.g|i\.e|approx)\.|(?:[a-z]\.){2,}|(?-i:[A-HJ-Z]\.(?= [A-Z])))(?=\s)",
    re.IGNORECASE,
)
"""Dots within a sentence: of abbreviations and initials, save "I", which ends sentences."""


def reward(answer: Answer, known: Known) -> float:
    """1 for the form asked for, 1/2 for a list with other marks than dashes, else 0; 0 where none is asked for.

    Only whole answers have a form: one that was cut off gets 0.
    """
    request = asked(answer.prompt.instruction)
    if request is None or not answer.stopped:
        return 0.0
    return _JUDGES[request.format](answer.text.strip(), request.n)


def _list(text: str, n: int) -> float:
    for mark, worth in (("-", 1.0), ("*", 0.5), ("\N{BULLET}", 0.5)):
        if _is_list(text, rf"{re.escape(mark)} +(\S.*)", n):
            return worth
    return 0.0


def _numbered(text: str, n: int) -> float:
    numbers = [int(number) for number in re.findall(r"^(\d{1,4})[.)] ", text, re.MULTILINE)]
    is_counted = numbers == list(range(1, len(numbers) + 1))
    return float(is_counted and _is_list(text, r"\d+[.)] +(\S.*)", n))


def _is_list(text: str, line: str, n: int) -> bool:
    """Every line is an item with words, no two have the same, and there are n (any number from 2 where n is 0)."""
    found = [re.fullmatch(line, part.rstrip()) for part in text.split("\n")]
    items = [tuple(words(match[1])) for match in found if match]
    is_count = len(items) == n if n else len(items) >= 2
    return is_count and all(items) and len(items) == len(found) and len(set(items)) == len(items)


def _yes_or_no(text: str, n: int) -> float:
    return float(re.fullmatch(r"(yes|no)[.!]?", text.lower()) is not None)


def _one_sentence(text: str, n: int) -> float:
    """One line of at least three words with one sentence's end, which stands at its end."""
    ends = re.findall(r"[.!?]+(?=\s|$)", _DOTTED.sub("", text))
    return float(len(ends) == 1 and text.endswith(ends[0]) and "\n" not in text and len(words(text)) >= 3)


_JUDGES = {"list": _list, "numbered list": _numbered, "yes or no": _yes_or_no, "one sentence": _one_sentence}
