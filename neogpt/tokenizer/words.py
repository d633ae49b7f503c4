"""GPT-2's cut of text into words, by the standard library's `re`.

Merges never cross a word, so the ids of a word are computed once and looked up from then on: that encodes
English two to eight times as fast as `tokenizers` alone (`benchmarks/tokenizer_speed.py`). What counts as a
letter or a number depends on the Unicode version, so `split` answers only for characters that this Python
knows, and the backend cuts the rest; the tests hold both to the same answer for every character.
Source of the pattern: Radford et al. 2019, `encoder.py`.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import cache

# The Basic Multilingual Plane, mathematical letters and emoji: nearly all text. Reading the class of every
# character of every plane would take ten times as long.
_SPANS = (range(0x10000), range(0x1D400, 0x1FB00))
_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space


def split(text: str) -> list[str] | None:
    """The words of `text` in order (joined they are `text` again), or None where the backend has to do it."""
    word, unknown = _patterns()
    return None if unknown.search(text) else word.findall(text)


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    letter = _characters(lambda category: category[0] == "L")
    number = _characters(lambda category: category[0] == "N")
    known = _characters(lambda category: category not in ("Cn", "Cs"))  # neither unassigned nor surrogate
    word = (
        rf"'(?:[sdmt]|ll|ve|re)| ?[{letter}]+| ?[{number}]+| ?[^{_SPACE}{letter}{number}]+"
        rf"|[{_SPACE}]+(?![^{_SPACE}])|[{_SPACE}]+"
    )
    return re.compile(word), re.compile(f"[^{known}]")


def _characters(accept: Callable[[str], bool]) -> str:
    """The characters whose Unicode category is accepted, as ranges for a character class."""
    ranges: list[list[int]] = []
    for code in (code for span in _SPANS for code in span):
        if accept(unicodedata.category(chr(code))):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
