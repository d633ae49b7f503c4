"""Plain text files (.txt, .md), also compressed (.gz, .xz, .zst)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from neogpt.data.input_files import COMPRESSED, expand, opened, part_file
from neogpt.data.source import HasDocuments
from neogpt.data.sources import _rows
from neogpt.data.sources._lines import blocks, decode, lines, not_text
from neogpt.records import Document, RowStats

SUFFIXES = tuple(f"{kind}{end}" for kind in (".txt", ".md", ".text") for end in COMPRESSED)
MAX_FILE_BYTES = 512 << 20
"""A larger file is not read as one document."""
END_OF_TEXT, _START_OF_TEXT = "<|endoftext|>", "<|startoftext|>"
_LINES = re.compile(rf"^[ \t]*{re.escape(END_OF_TEXT)}[ \t]*\r?$", re.MULTILINE)
_PAIRS = re.compile(rf"{re.escape(END_OF_TEXT)}[ \t]*\r?\n{re.escape(_START_OF_TEXT)}")
LARGE_FILE_BYTES = 64 << 10
"""A larger file is cut into passages, unless `unit` says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Text(HasDocuments):
    """Plain text files."""

    path: str = ""
    """A file, a folder (searched recursively) or a glob."""
    unit: Literal["auto", "file", "passage", "line"] = "auto"
    """What a document is: a whole file, a passage of one, or a line. auto: the texts between lines of <|endoftext|>
    where a file has such; else passages, where it is named by itself or larger than 64 KiB; else the whole file."""
    passage_chars: int = 2000
    """A passage ends at the first blank line after so many characters; where none comes before four times that, at a
    line's end, else a sentence's, else a word's."""

    def parts(self) -> list[str]:
        """The files, sorted."""
        return expand(self.path, SUFFIXES)

    def documents(self, part: str, bad: RowStats) -> Iterator[Document]:
        """The documents of one file; line ends become \\n, and blank documents are filtered."""
        path = part_file(part)
        found = _READERS[self.unit_of(path)](self, path, bad)
        for row in found:
            bad.row()
            text = str(row.values["text"])
            if text.strip():
                yield Document(text)
            else:
                bad.filtered(row.file, row.line, _rows.BLANK.format("text"))

    def notes(self) -> list[str]:
        """Which files are cut at marks that stand in them."""
        return self.notes_of(self.parts()) if self.unit == "auto" else []

    def notes_of(self, files: list[str]) -> list[str]:
        """The same of files that have been found."""
        marked = [file for file in files if marks_of(Path(file))]
        more = f" and {len(marked) - 1:,} more files" if len(marked) > 1 else ""
        return [f"{marked[0]}{more}: each text between {END_OF_TEXT} is a document"] if marked else []

    def unit_of(self, path: Path) -> str:
        """What a document of this file is: file, passage, line or marked (a text between marks)."""
        if self.unit != "auto":
            return self.unit
        if marks_of(path):
            return "marked"
        alone = Path(self.path).expanduser().is_file()
        return "passage" if alone or path.stat().st_size > LARGE_FILE_BYTES else "file"


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
    """The text cut at paragraphs, a block of the file at a time."""
    held, start = "", 1
    for number, block in blocks(path, bad):
        if not held:
            start = number
        held += block
        place = 0
        while len(held) - place > 8 * settings.passage_chars:
            end = cut(held, place, settings.passage_chars)
            yield _row(path, start, _trimmed(held[place:end]))
            start += held.count("\n", place, end)
            place = end
        held = held[place:]
    place = 0
    while place < len(held):
        end = cut(held, place, settings.passage_chars)
        if piece := held[place:end].strip("\n"):
            yield _row(path, start, _trimmed(held[place:end]) if end < len(held) else f"{piece}\n")
        start += held.count("\n", place, end)
        place = end


def _trimmed(passage: str) -> str:
    """Without blank lines around it; one that ends within a line keeps its end as it is."""
    return passage.strip("\n") + "\n" if passage.endswith("\n") else passage.lstrip("\n")


def cut(text: str, start: int, size: int) -> int:
    """Where a passage of `text` that begins at `start` ends: behind the first blank line after `size` characters; where
    none comes before four times that, behind the last line end, else the last sentence, else the last word before it.
    """
    least, most = start + size, start + 4 * size
    if len(text) <= least:
        return len(text)
    if (blank := text.find("\n\n", least, most)) >= 0:
        return blank + 2
    if len(text) <= most:
        return len(text)
    if (line := text.rfind("\n", least, most)) >= 0:
        return line + 1
    if (sentence := max(text.rfind(end, least, most) for end in (". ", "! ", "? "))) >= 0:
        return sentence + 2
    word = text.rfind(" ", least, most)
    return word + 1 if word >= 0 else most


def marks_of(path: Path) -> re.Pattern[str] | None:
    """What separates the texts of a file that is evidently laid out by marks: lines that are <|endoftext|> (as in
    TinyStories), or texts that begin with <|startoftext|> and end with <|endoftext|> (as gpt-2-simple has them).

    Two in the first MiB are evidence; elsewhere such a mark is text like any other.
    """
    with opened(path) as file:
        text = file.read(1 << 20).decode("utf-8", errors="replace")
    return next((marks for marks in (_LINES, _PAIRS) if len(marks.findall(text)) > 1), None)


def _marked(settings: Text, path: Path, bad: RowStats) -> Iterator[_rows.SourceRow]:
    marks = marks_of(path)
    assert marks
    held, start = "", 1
    for number, block in blocks(path, bad):
        start = start if held else number
        *whole, held = marks.split(
            held + block
        )  # a block ends with a line, so no mark of one line is cut in two
        for piece in whole:
            if text := _unmarked(piece):
                yield _row(path, start, text)
            start += piece.count("\n") + 1
    if text := _unmarked(held):
        yield _row(path, start, text)


def _unmarked(piece: str) -> str:
    """A text between marks, without the outer ones of the first and the last, and blank lines around it."""
    text = piece.strip().removeprefix(_START_OF_TEXT).removesuffix(END_OF_TEXT).strip("\r\n")
    return f"{text}\n" if text.strip() else ""


def _lines(settings: Text, path: Path, bad: RowStats) -> Iterator[_rows.SourceRow]:
    for number, line in lines(path, bad):
        if line.strip():
            yield _row(path, number, line)


def _row(path: Path, line: int, text: str) -> _rows.SourceRow:
    return _rows.SourceRow(str(path), line, {"text": text})


_READERS = {"file": _whole, "passage": _passages, "line": _lines, "marked": _marked}
