"""Lines of text from bytes that may be anything: not UTF-8, without end, with a byte-order mark or CRLF."""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from neogpt.data.input_files import opened
from neogpt.records import RowStats

MAX_LINE_BYTES = 64 << 20
"""A longer line is not read into memory."""


def lines(path: Path, bad: RowStats) -> Iterator[tuple[int, str]]:
    """Each line with its number from 1, without its end; lines that are no text are counted as malformed."""
    with opened(path) as file:
        for number, raw in enumerate(_raw_lines(file, MAX_LINE_BYTES), start=1):
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8) if raw is not None else None
            text = None if raw is None else decode(raw)
            if text is None:
                bad.row()
                bad.malformed(
                    str(path),
                    number,
                    not_text(raw) if raw is not None else f"over {MAX_LINE_BYTES} bytes long",
                )
            else:
                yield number, text.removesuffix("\n").removesuffix("\r")


def blocks(path: Path, bad: RowStats, size: int = 1 << 20) -> Iterator[tuple[int, str]]:
    """The text of a file in blocks of whole lines (of whole characters, where a line is longer than a block), each with
    the number of its first line from 1; line ends become \\n. Lines that are no text are counted as malformed.
    """
    number, rest = 1, b""
    with opened(path) as file:
        while raw := file.read(size):
            raw = rest + raw + file.readline(size)
            if number == 1 and not rest:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            kept = len(raw) if raw.endswith(b"\n") else _whole_characters(raw)
            raw, rest = raw[:kept], raw[kept:]
            yield number, _text_of(raw, path, number, bad)
            number += raw.count(b"\n")
        if rest:
            yield number, _text_of(rest, path, number, bad)


def _whole_characters(raw: bytes) -> int:
    """How many of these bytes remain without the beginning of a character that is cut off at their end."""
    for place in range(len(raw) - 1, max(-1, len(raw) - 4), -1):
        if raw[place] >= 0xC0:  # the first byte of a character of several
            length = 2 if raw[place] < 0xE0 else 3 if raw[place] < 0xF0 else 4
            return len(raw) if place + length <= len(raw) else place
        if raw[place] < 0x80:
            break
    return len(raw) - (raw[-1:] == b"\r")


def _text_of(raw: bytes, path: Path, number: int, bad: RowStats) -> str:
    text = decode(raw)
    if text is None:
        found = []
        for place, line in enumerate(io.BytesIO(raw)):
            if (good := decode(line)) is None:
                bad.row()
                bad.malformed(str(path), number + place, not_text(line))
            else:
                found.append(good)
        text = "".join(found)
    return text.replace("\r\n", "\n")


def decode(raw: bytes) -> str | None:
    """The UTF-8 text of `raw`, or None where it is something else."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def not_text(raw: bytes) -> str:
    """Why `decode` gave None: what the bytes seem to be."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16, not UTF-8 text"
    if b"\0" in raw:
        return "binary, not UTF-8 text"
    return "not UTF-8 text"


def _raw_lines(file: IO[bytes], limit: int) -> Iterator[bytes | None]:
    """Lines with their ends; None in place of one longer than `limit` bytes."""
    while line := file.readline(limit):
        if len(line) < limit or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(1 << 20)
        yield None
