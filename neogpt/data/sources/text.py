"""Plain text files (.txt, .md), also compressed (.gz, .xz, .zst)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from neogpt.data.input_files import COMPRESSED, expand, opened, part_file
from neogpt.data.source import HasDocuments
from neogpt.data.sources import _rows
from neogpt.data.sources._lines import decode, lines, not_text
from neogpt.records import Document, RowStats

SUFFIXES = tuple(f"{kind}{end}" for kind in (".txt", ".md", ".text") for end in COMPRESSED)
MAX_FILE_BYTES = 512 << 20
"""A larger file is not read as one document."""


@dataclass(frozen=True, kw_only=True)
class Text(HasDocuments):
    """Plain text files."""

    path: str = ""
    """A file, a folder (searched recursively) or a glob."""
    unit: Literal["file", "passage", "line"] = "file"
    """What a document is: a whole file, a passage of one (cut at blank lines), or a line."""
    passage_chars: int = 2000
    """A passage ends at the first blank line after so many characters (or at any line after four times that)."""

    def parts(self) -> list[str]:
        """The files, sorted."""
        return expand(self.path, SUFFIXES)

    def documents(self, part: str, bad: RowStats) -> Iterator[Document]:
        """The documents of one file; line ends become \\n, and blank documents are filtered."""
        path = part_file(part)
        found = {"file": _whole, "passage": _passages, "line": _lines}[self.unit](self, path, bad)
        for row in found:
            bad.row()
            text = str(row.values["text"])
            if text.strip():
                yield Document(text)
            else:
                bad.filtered(row.file, row.line, _rows.BLANK.format("text"))


def _whole(settings: Text, path: Path, bad: RowStats) -> Iterator[_rows.SourceRow]:
    with opened(path) as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    text = decode(raw)
    if text is None or len(raw) > MAX_FILE_BYTES:
        bad.row()
        bad.malformed(str(path), 1, not_text(raw) if text is None else f"over {MAX_FILE_BYTES} bytes long")
        return
    yield _row(path, 1, text.removeprefix("\ufeff").replace("\r\n", "\n"))


def _passages(settings: Text, path: Path, bad: RowStats) -> Iterator[_rows.SourceRow]:
    """Runs of lines that end at a blank line once they have `passage_chars` characters."""
    held: list[str] = []
    start, size = 1, 0
    for number, line in lines(path, bad):
        if not held and not line.strip():
            continue
        start = start if held else number
        held.append(line)
        size += len(line) + 1
        if size >= settings.passage_chars * (4 if line.strip() else 1):
            yield _row(path, start, "\n".join(held).rstrip("\n") + "\n")
            held, size = [], 0
    if held:
        yield _row(path, start, "\n".join(held).rstrip("\n") + "\n")


def _lines(settings: Text, path: Path, bad: RowStats) -> Iterator[_rows.SourceRow]:
    for number, line in lines(path, bad):
        if line.strip():
            yield _row(path, number, line)


def _row(path: Path, line: int, text: str) -> _rows.SourceRow:
    return _rows.SourceRow(str(path), line, {"text": text})
