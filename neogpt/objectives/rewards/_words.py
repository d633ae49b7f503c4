"""Words: what an answer must have to say anything."""

import re

_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Runs of letters and digits, in lower case; none where the text is punctuation alone."""
    return _WORD.findall(text.lower())
