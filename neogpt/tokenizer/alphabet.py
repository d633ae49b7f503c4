"""The printable alphabet in which byte-level BPE writes bytes, as in OpenAI's GPT-2 `encoder.py`."""

from functools import cache

END_OF_TEXT = "<|endoftext|>"


@cache
def byte_to_char() -> dict[int, str]:
    """One printable character a byte, in GPT-2's order of ids (printable Latin-1 first, then the rest).

    Vocabulary files are text, so bytes that are blank, control or unprintable stand as U+0100 and up: a
    space is written "Ġ". Source: Radford et al. 2019, `bytes_to_unicode`.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


@cache
def char_to_byte() -> dict[str, int]:
    """The inverse of `byte_to_char`."""
    return {char: byte for byte, char in byte_to_char().items()}


def from_bytes(data: bytes) -> str:
    """Bytes in the byte alphabet."""
    return data.decode("latin-1").translate(byte_to_char())


def to_bytes(token: str) -> bytes:
    """The bytes that a token of a vocabulary file stands for; KeyError outside the alphabet."""
    return bytes(map(char_to_byte().__getitem__, token))
