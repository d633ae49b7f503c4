"""Which texts are held out: a pure function of the text, so no order, seed or process count can move one."""

import hashlib

from neogpt.records import Instruction, Pair


def held_out(text: str, fraction: float) -> bool:
    """True for about `fraction` of all texts, chosen by sha256 of the UTF-8 text; equal texts go together.

    What is held out at a smaller fraction is also held out at every larger one.
    """
    return number(text) < fraction * 2.0**64


def copies(text: str, weight: float) -> int:
    """How often an epoch sees a text of this weight: 2 is twice, 0.5 once for half of all texts, by their hash."""
    return int(weight) + held_out(f"weight\0{text}", weight % 1)


def number(text: str) -> int:
    """The 64 bits by which a text is held out: the smaller, the earlier."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def is_held_out(item: Instruction | Pair, fraction: float) -> bool:
    """Whether a row stands on the held-out side: by the hash of its opening, where it may be held out at all."""
    return item.hold_out and held_out(opening(item), fraction)


def opening(item: Instruction | Pair) -> str:
    """The text by whose hash a row is held out: the first request of its conversation."""
    first = item.history[0] if item.history else item
    return f"{first.instruction}\n{first.context}"
