"""Forms that a request may ask for: how each is asked, and how asking is recognized."""

import re
from dataclasses import dataclass
from typing import Literal

from neogpt.data.split import number

ResponseFormat = Literal["list", "numbered list", "yes or no", "one sentence"]
ASKS: dict[ResponseFormat, str] = {
    "one sentence": "Answer in one sentence.",
    "numbered list": "Answer with a numbered list.",
    "list": "Answer with bullet points.",
    "yes or no": "Answer yes or no.",
}
"""What is put behind a request that asks for no form."""
OPEN: tuple[ResponseFormat, ...] = ("one sentence", "numbered list", "list")
"""The forms that any request can be answered in."""

_COUNTS = {word: n for n, word in enumerate("two three four five six seven eight nine ten".split(), 2)}
_NUMBER = (
    rf"(?P<n>[2-9]|[1-9]\d{{1,2}}|{'|'.join(_COUNTS)})"  # of one thing there is no list, and 1984 is no count
)
_LENGTHS = r"sentence|word|letter|line|time|hour|minute|(?:[a-z]+ )?(?:paragraph|stanza|verse|page)"
_THINGS = rf"{_NUMBER} (?!{_LENGTHS})[a-z]+"
_PATTERNS: tuple[tuple[str, ResponseFormat], ...] = (
    (rf"\bnumbered list\b(?:.*?\b{_THINGS})?", "numbered list"),
    (rf"\blist(?: of| out| the| me| down)? (?:[a-z]+ )?{_THINGS}", "list"),
    (rf"\b(?:give|name|write|tell)(?: me)? {_THINGS}", "list"),
    (r"\bbullet(?:ed)?(?: points?| list)?\b|\b(?:write|make|give me) a list\b", "list"),
    (r"\byes or no\b|\byes/no\b", "yes or no"),
    (r"\b(?:in|with) (?:one|a single) sentence\b|\bone-sentence\b", "one sentence"),
)
_POLAR = re.compile(
    r"(?:am|is|are|was|were|do|does|did|can|could|should|has|have|will|would) (?!you\b)(?!.*\bor\b)[^.?!]*\?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class FormatRequest:
    """The form that a request asks for."""

    format: ResponseFormat
    n: int = 0
    """How many items; 0: any number."""


def asked(instruction: str) -> FormatRequest | None:
    """The form that a request asks for; None where it asks for none."""
    text = instruction.lower()
    for pattern, form in _PATTERNS:
        if found := re.search(pattern, text, re.DOTALL):
            count = found.groupdict().get("n") or "0"
            return FormatRequest(form, _COUNTS.get(count) or int(count))
    return None


def ask(instruction: str, form: ResponseFormat) -> str:
    """The request with the form asked for behind it."""
    return f"{instruction.strip()} {ASKS[form]}"


def is_polar(instruction: str) -> bool:
    """Whether yes or no could answer it: one question that begins with its verb and offers no choice."""
    return _POLAR.fullmatch(instruction.strip()) is not None


def format_of(instruction: str) -> ResponseFormat:
    """A form that the request can be answered in: yes or no where it is polar, else one by its hash."""
    if is_polar(instruction):
        return "yes or no"
    return OPEN[(number(f"form\0{instruction}") >> 56) % len(OPEN)]
