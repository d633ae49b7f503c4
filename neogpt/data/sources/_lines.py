"""Lines of text from bytes that may be anything: not UTF-8, without end, with a byte-order mark or CRLF."""

import codecs
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
