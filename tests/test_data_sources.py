"""Sources: good input of every form, and bad input named with file, line and reason."""

import dataclasses
import gzip
import json
import lzma
import random
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import neogpt.data.sources
import neogpt.tinyworld
from neogpt import atomic, plugins
from neogpt.data import fingerprint, input_files
from neogpt.data.source import (
    PACKAGE,
    HasDocuments,
    HasInstructions,
    HasPairs,
    HasPrompts,
    Remote,
    ScoresAnswers,
    Source,
    chosen,
    from_dict,
    need,
    source_by_name,
    sources_with,
    to_dict,
)
from neogpt.data.sources import _lines, dolly, files, jsonl, parquet, red_team_pairs, text, tinyworld
from neogpt.data.split import held_out
from neogpt.errors import ConfigError, DataError
from neogpt.records import Instruction, Pair, RowStats

ROWS = [{"text": t} for t in ("one", "two\nlines", "drei ß", "四", "five <|endoftext|> is text")]
TEXTS = [row["text"] for row in ROWS]


def as_lines(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def read(source: HasDocuments) -> tuple[list[str], RowStats]:
    bad = RowStats()
    found = [d.text for part in source.parts() for d in source.documents(part, bad)]
    return found, bad


def write_parquet(path: Path, columns: dict[str, list[Any]], **options: Any) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, **options)
    return path


# ---------------------------------------------------------------- good input


def test_jsonl_plain_and_compressed(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    raw = as_lines(ROWS)
    (tmp_path / "a.jsonl").write_bytes(raw)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(raw))
    (tmp_path / "c.jsonl.xz").write_bytes(lzma.compress(raw))
    (tmp_path / "d.jsonl.zst").write_bytes(pa.compress(raw, codec="zstd", asbytes=True))
    found, bad = read(jsonl.Jsonl(path=str(tmp_path)))
    assert found == TEXTS * 4
    assert (bad.rows, bad.n_malformed, bad.n_filtered) == (20, 0, 0)


def test_byte_order_mark_crlf_blank_lines_and_no_last_newline(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + as_lines(ROWS).replace(b"\n", b"\r\n\r\n").rstrip())
    assert read(jsonl.Jsonl(path=str(path)))[0] == TEXTS


def test_parquet_in_one_part_and_in_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"text {i} " + "x" * (i % 50) for i in range(1000)]
    path = write_parquet(tmp_path / "a.parquet", {"id": list(range(1000)), "text": texts}, row_group_size=90)
    config = parquet.Parquet(path=str(tmp_path))
    assert len(config.parts()) == 1
    assert read(config)[0] == texts
    monkeypatch.setattr(parquet, "PART_BYTES", 1500)
    parts = config.parts()
    assert len(parts) > 3
    assert {input_files.part_file(part) for part in parts} == {path}
    assert read(config)[0] == texts
    assert [input_files.part_slice(part) for part in parts] == [(i, len(parts)) for i in range(len(parts))]


def test_parquet_lines_count_through_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "PART_BYTES", 1)
    write_parquet(tmp_path / "a.parquet", {"text": ["a", "b", "c", None, "e"]}, row_group_size=2)
    found, bad = read(parquet.Parquet(path=str(tmp_path)))
    assert found == ["a", "b", "c", "e"]
    assert [row.line for row in bad.shown] == [4]


def test_text_files_are_documents_sorted_with_dot_files_passed_over(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.md", "a.txt", ".hidden.txt", ".git/x.txt", "c.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"I am {name}\r\n", newline="")
    (tmp_path / "z.txt.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfI am z"))
    found, _ = read(text.Text(path=str(tmp_path)))
    assert found == ["I am a.txt\n", "I am b/1.md\n", "I am b/2.txt\n", "I am z"]


def test_text_lines_and_passages(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {i}.\n" + "word " * (i % 7) for i in range(50)]
    (tmp_path / "a.txt").write_text("\n\n".join(paragraphs))
    lines, _ = read(text.Text(path=str(tmp_path), unit="line"))
    assert lines == [line for p in paragraphs for line in p.split("\n") if line]
    passages, _ = read(text.Text(path=str(tmp_path), unit="passage", passage_chars=100))
    assert "".join(passages).replace("\n", "") == "".join(paragraphs).replace("\n", "")
    assert all(len(p) > 90 for p in passages[:-1])
    assert len(passages) > 5
    (tmp_path / "a.txt").write_text("no blank line\n" * 1000)
    passages, _ = read(text.Text(path=str(tmp_path), unit="passage", passage_chars=100))
    assert max(map(len, passages)) < 420


def test_files_reads_a_mixed_folder(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": ["from parquet"]})
    (tmp_path / "b.jsonl").write_bytes(as_lines([{"text": "from jsonl"}]))
    (tmp_path / "c.md").write_text("from text")
    assert read(files.Files(path=str(tmp_path)))[0] == ["from parquet", "from jsonl", "from text"]


def test_a_path_is_a_file_a_folder_or_a_glob(tmp_path: Path) -> None:
    for name in ("x1.jsonl", "x2.jsonl", "y.jsonl", "in/x3.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(as_lines(ROWS[:1]))

    def names(path: Path) -> list[str]:
        return [Path(part).name for part in jsonl.Jsonl(path=str(path)).parts()]

    assert names(tmp_path / "y.jsonl") == ["y.jsonl"]
    assert names(tmp_path) == ["x3.jsonl", "x1.jsonl", "x2.jsonl", "y.jsonl"]
    assert names(tmp_path / "x*.jsonl") == ["x1.jsonl", "x2.jsonl"]
    assert names(tmp_path / "**" / "x*.jsonl") == ["x3.jsonl", "x1.jsonl", "x2.jsonl"]


# ---------------------------------------------------------------- bad input

DEEP = b'{"text": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"
BROKEN_LINES = {
    "cut off": (b'{"text": "on\n', "not JSON"),
    "not an object": (b'["text"]\n', "a JSON list, not an object"),
    "binary": (b"\x00\x01\x02\x03\n", "binary, not UTF-8 text"),
    "latin-1": ('{"text": "größe"}\n'.encode("latin-1"), "not UTF-8 text"),
    "deep nesting": (DEEP, "nested too deeply|holds list"),
    "no column": (b'{"body": "x", "id": 1}\n', "no column 'text'; there are: 'body', 'id'"),
    "wrong type": (b'{"text": 7}\n', "column 'text' holds int, not text"),
    "half a surrogate pair": (b'{"text": "\\ud800"}\n', "half a surrogate pair"),
    "huge number": (b'{"text": "x", "n": ' + b"9" * 5000 + b"}\n", "not JSON"),
    "huge line": (b'{"text": "' + b"x" * 300_000 + b'"}\n', "over 200000 bytes long"),
}


@pytest.mark.parametrize("fault", BROKEN_LINES)
def test_broken_lines_are_quarantined_with_file_and_line(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "huge line":
        monkeypatch.setattr(_lines, "MAX_LINE_BYTES", 200_000)
    line, reason = BROKEN_LINES[fault]
    path = tmp_path / "a.jsonl"
    path.write_bytes(as_lines(ROWS) * 20 + line + as_lines(ROWS) * 20)
    found, bad = read(jsonl.Jsonl(path=str(path)))
    assert found == TEXTS * 40
    assert (bad.rows, bad.n_malformed) == (201, 1)
    assert (bad.shown[0].file, bad.shown[0].line) == (str(path), 101)
    with pytest.raises(DataError, match=reason):
        bad.check(limit=0)
    bad.check()  # 1 of 201 is below 1 %


def test_more_than_one_per_cent_of_broken_lines_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(as_lines([{"text": "x"}]) * 196 + b"{\n" * 4)
    _, bad = read(jsonl.Jsonl(path=str(path)))
    with pytest.raises(DataError, match=r"4 of 200 rows") as error:
        bad.check()
    assert f"{path}:197: not JSON" in str(error.value)
    assert error.value.exit_code == 3


BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "gzip cut off": ("a.jsonl.gz", gzip.compress(as_lines(ROWS) * 99)[:-20], "cannot be read"),
    "xz cut off": ("a.jsonl.xz", lzma.compress(as_lines(ROWS) * 99)[:-20], "cannot be read"),
    "not gzip": ("a.jsonl.gz", b"plain text", "cannot be read"),
    "not xz": ("a.jsonl.xz", b"plain text", "cannot be read"),
    "not zstd": ("a.jsonl.zst", b"plain text", "cannot be read"),
    "not parquet": ("a.parquet", b"plain text that is long enough", "cannot be read"),
    "empty parquet": ("a.parquet", b"", "cannot be read"),
}


@pytest.mark.parametrize("fault", BAD_FILES)
def test_a_damaged_file_is_named(tmp_path: Path, fault: str) -> None:
    pytest.importorskip("pyarrow")
    name, raw, message = BAD_FILES[fault]
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError, match=f"{name} {message}"):
        read(files.Files(path=str(tmp_path)))


def test_damage_inside_compressed_data_is_an_error(tmp_path: Path) -> None:
    raw = as_lines([{"text": str(random.Random(i).random())} for i in range(3000)])
    for name, packed in (("a.jsonl.gz", gzip.compress(raw)), ("b.jsonl.xz", lzma.compress(raw))):
        (tmp_path / name).write_bytes(
            packed[: len(packed) // 2] + b"\x55" * 40 + packed[len(packed) // 2 + 40 :]
        )
        with pytest.raises(DataError, match="cannot be read"):
            read(jsonl.Jsonl(path=str(tmp_path / name)))


def test_parquet_cut_off_or_overwritten(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"text": [f"text {i}" for i in range(5000)]})
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        read(parquet.Parquet(path=str(path)))
    path.write_bytes(raw[:100] + b"\xff" * 3000 + raw[3100:])
    with pytest.raises(DataError, match="cannot be read"):
        read(parquet.Parquet(path=str(path)))


def test_parquet_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    """Bytes that arrow takes for a string unchecked, in the 3rd row of the 2nd group, behind an umlaut of 2 bytes."""
    import pyarrow
    import pyarrow.parquet

    values = ["a", "b", "c", "d", "e", "ü x"] * 100
    raw = [value.encode() for value in values]
    raw[302] = "ü ".encode() + "größe".encode("latin-1")
    text = pyarrow.array(raw, pyarrow.binary()).view(pyarrow.string())
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": values, "text": text}), path, row_group_size=300)
    with pytest.raises(DataError) as error:
        read(parquet.Parquet(path=str(path)))
    assert f"column 'text' of {path} is not UTF-8 text in row 303: " in str(error.value)
    assert "at byte 5 of the value (b'\\xf6\\xdfe')" in str(error.value)
    assert "try: write the file again" in str(error.value)
    assert read(parquet.Parquet(path=str(path), text_column="id"))[0] == values


def test_parquet_names_the_columns_that_exist(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"body": ["x"], "score": [1.5]})
    with pytest.raises(DataError, match="has no column 'text'") as error:
        read(parquet.Parquet(path=str(path)))
    assert "'body', 'score'" in str(error.value)
    assert read(parquet.Parquet(path=str(path), text_column="body"))[0] == ["x"]
    with pytest.raises(DataError, match=r"column 'score' of .* holds double"):
        read(parquet.Parquet(path=str(path), text_column="score"))


TEXT_FILES = {
    "empty": (b"", "blank text", 0),
    "blank": (b" \n\t\n", "blank text", 0),
    "binary": (b"\x7fELF\x00\x01", "binary, not UTF-8 text", 1),
    "latin-1": ("größe".encode("latin-1"), "not UTF-8 text", 1),
    "utf-16": ("text".encode("utf-16"), "UTF-16, not UTF-8 text", 1),
}


@pytest.mark.parametrize("fault", TEXT_FILES)
def test_text_that_is_none(tmp_path: Path, fault: str) -> None:
    raw, reason, broken = TEXT_FILES[fault]
    (tmp_path / "a.txt").write_bytes(raw)
    found, bad = read(text.Text(path=str(tmp_path)))
    assert found == []
    assert [row.reason for row in bad.shown] == [reason]
    assert (bad.n_malformed, bad.n_filtered) == (broken, 1 - broken)


def test_a_file_too_large_to_be_one_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_FILE_BYTES", 10)
    (tmp_path / "a.txt").write_text("eleven char")
    assert read(text.Text(path=str(tmp_path)))[1].shown[0].reason == "over 10 bytes long"


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("", ConfigError, "no input is named"),
        ("nowhere", DataError, "there is no .*nowhere"),
        ("*.jsonl", DataError, "it has no files"),
        (".", DataError, r"it has 2 \.csv, 1 \.pdf"),
    ],
)
def test_a_path_without_input(tmp_path: Path, path: str, error: type[Exception], message: str) -> None:
    for name in ("a.csv", "b.csv", "c.pdf"):
        (tmp_path / name).write_text("x")
    with pytest.raises(error, match=message):
        jsonl.Jsonl(path=str(tmp_path / path) if path else "").parts()


# ---------------------------------------------------------------- instructions and pairs


def test_instructions_and_pairs_by_column_name_from_both_table_formats(tmp_path: Path) -> None:
    rows = [
        {"q": "Name a colour.", "input": None, "good": "Red.", "evil": "No.", "extra": 1},
        {"q": "Sum it up.", "input": "A long text.", "good": "A text.", "evil": "", "extra": 2},
        {"q": "Sum it up.", "input": "A long text.", "good": "A text.", "evil": "", "extra": 3},
        {"q": " ", "input": None, "good": "Blank question.", "evil": "x", "extra": 4},
    ]
    (tmp_path / "a.jsonl").write_bytes(as_lines(rows))
    write_parquet(tmp_path / "a.parquet", {key: [row[key] for row in rows] for key in rows[0]})
    names = {"instruction_column": "q", "context_column": "input", "response_column": "good"}
    names |= {"chosen_column": "good", "rejected_column": "evil"}
    kinds: list[tuple[Any, str]] = [(jsonl.Jsonl, "jsonl"), (parquet.Parquet, "parquet")]
    for kind, suffix in kinds:
        source = kind(path=str(tmp_path / f"a.{suffix}"), **names)
        bad = RowStats()
        assert list(source.instructions(bad)) == [
            Instruction("Name a colour.", "", "Red.", ""),
            Instruction("Sum it up.", "A long text.", "A text.", ""),
        ]
        assert bad.reasons == {"exact duplicate": 1, "blank q": 1}
        bad = RowStats()
        assert list(source.pairs(bad)) == [Pair("Name a colour.", "", "Red.", "No.", "")]
        assert bad.reasons == {"blank evil": 2, "blank q": 1}


DOLLY_ROW = {"instruction": "Why?", "context": "", "response": "Because.", "category": "open_qa"}


def test_dolly_drops_duplicates_and_blank_answers(tmp_path: Path) -> None:
    rows = [{**DOLLY_ROW, "instruction": f"Why {i}?"} for i in range(50)]
    blank = {**DOLLY_ROW, "response": " \n"}
    (tmp_path / "d.jsonl").write_bytes(as_lines([*rows, rows[7], blank]))
    bad = RowStats()
    found = list(dolly.Dolly(path=str(tmp_path)).instructions(bad))
    assert found == [Instruction(**row) for row in rows]
    assert bad.reasons == {"exact duplicate": 1, "blank response": 1}
    assert [row.line for row in bad.shown] == [51, 52]
    with pytest.raises(DataError, match=r"2 of 52 rows are of no use"):
        list(dolly.Dolly(path=str(tmp_path), max_filtered=0.01).instructions(RowStats()))


PAIR_ROW = {
    "prompt": "Hit him?",
    "response_a": "Yes.",
    "response_b": "No.",
    "explanation": "",
    "preferred": "B",
}
UNUSABLE = {
    "neither": ({"preferred": "neither"}, "preferred is neither A nor B"),
    "lower case": ({"preferred": "a"}, "preferred is neither A nor B"),
    "null": ({"preferred": None}, "preferred is neither A nor B"),
    "number": ({"preferred": 1}, "preferred is neither A nor B"),
    "equal": ({"response_a": "No."}, "equal answers"),
    "blank a": ({"response_a": "  "}, "blank response_a"),
    "null b": ({"response_b": None}, "blank response_b"),
    "blank prompt": ({"prompt": ""}, "blank prompt"),
}


def test_red_team_pairs_prefer_by_letter(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(as_lines([PAIR_ROW, {**PAIR_ROW, "preferred": "A"}]))
    first, second = red_team_pairs.RedTeamPairs(path=str(path)).pairs(RowStats())
    assert (first.instruction, first.chosen, first.rejected) == ("Hit him?", "No.", "Yes.")
    assert (second.chosen, second.rejected) == ("Yes.", "No.")


@pytest.mark.parametrize("fault", UNUSABLE)
def test_red_team_rows_without_a_preference_are_refused_and_counted(tmp_path: Path, fault: str) -> None:
    change, reason = UNUSABLE[fault]
    rows = [{**PAIR_ROW, "prompt": f"Hit {i}?"} for i in range(9)]
    path = tmp_path / "p.jsonl"
    path.write_bytes(as_lines([*rows, {**PAIR_ROW, **change}]))
    bad = RowStats()
    assert len(list(red_team_pairs.RedTeamPairs(path=str(path)).pairs(bad))) == 9
    assert bad.reasons == {reason: 1}
    strict = red_team_pairs.RedTeamPairs(path=str(path), max_filtered=0.05)
    with pytest.raises(DataError, match=r"1 of 10 rows are of no use") as error:
        list(strict.pairs(RowStats()))
    assert "--source.max-filtered" in str(error.value)


@pytest.mark.parametrize("kind", [dolly.Dolly, red_team_pairs.RedTeamPairs])
def test_without_a_file_the_error_says_how_to_name_one(
    kind: type[Source], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in (None, str(tmp_path)):
        monkeypatch.delenv("NEOGPT_DATA", raising=False)
        if folder:
            monkeypatch.setenv("NEOGPT_DATA", folder)
        with pytest.raises(DataError, match=r"could not be downloaded(.|\n)*--source.path"):
            kind().parts()


def test_real_dolly(real_data: Path) -> None:
    bad = RowStats()
    found = list(dolly.Dolly().instructions(bad))
    assert (len(found), bad.rows, bad.reasons) == (15003, 15011, {"exact duplicate": 8})
    assert len({item.category for item in found}) == 8


def test_real_red_team_pairs(real_data: Path) -> None:
    bad = RowStats()
    found = list(red_team_pairs.RedTeamPairs().pairs(bad))
    assert (len(found), bad.n_filtered, bad.n_malformed) == (578, 0, 0)
    assert all(pair.chosen != pair.rejected for pair in found)


# ---------------------------------------------------------------- what every source keeps to


CAPABILITIES = (HasDocuments, HasInstructions, HasPairs, HasPrompts, ScoresAnswers, Remote)


@pytest.mark.parametrize("name", plugins.names(PACKAGE))
def test_every_source_keeps_to_the_contract(name: str) -> None:
    kind = source_by_name(name)
    assert plugins.summary(PACKAGE, name).endswith(".")
    assert kind.kind == name
    assert kind() == kind()  # a value, whose class is whole: nothing abstract is left
    assert any(issubclass(kind, each) for each in CAPABILITIES[:3])
    assert from_dict(tomllib.loads(tomli_w.dumps(to_dict(kind())))) == kind()
    assert not {field.name for field in dataclasses.fields(kind)} & {"kind", *dir(Source)}


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_what_a_source_has_not_is_an_error_with_a_source_that_has_it(capability: type[Source]) -> None:
    names = sources_with(capability)
    assert 0 < len(names) < len(plugins.names(PACKAGE))
    for name in plugins.names(PACKAGE):
        source = source_by_name(name)()
        if name in names:
            assert need(source, capability) is source
            continue
        with pytest.raises(ConfigError) as error:
            need(source, capability)
        assert name in str(error.value)
        assert error.value.hint.removeprefix("--source ") in names


def test_a_new_source_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nursery_rhymes.py").write_text(NEW_SOURCE)
    monkeypatch.setattr(neogpt.data.sources, "__path__", [*neogpt.data.sources.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, f"{PACKAGE}.nursery_rhymes", raising=False)
    source = chosen(jsonl.Jsonl(), "nursery-rhymes")
    assert to_dict(source) == {"kind": "nursery-rhymes", "times": 2}
    assert "nursery-rhymes" in sources_with(HasDocuments)
    assert "nursery-rhymes" not in sources_with(HasPairs)
    assert [d.text for d in need(source, HasDocuments).documents("", RowStats())] == [
        "Hey diddle diddle."
    ] * 2
    assert need(source, HasDocuments).code() == [tmp_path / "nursery_rhymes.py"]
    monkeypatch.delitem(sys.modules, f"{PACKAGE}.nursery_rhymes")


NEW_SOURCE = '''
"""Nursery rhymes."""

from dataclasses import dataclass

from neogpt.data.source import HasDocuments
from neogpt.records import Document


@dataclass(frozen=True, kw_only=True)
class NurseryRhymes(HasDocuments):
    """Rhymes."""

    times: int = 2
    """How often."""

    def parts(self):
        return ["all"]

    def documents(self, part, bad):
        return iter([Document("Hey diddle diddle.")] * self.times)
'''


def test_settings_of_a_source_that_are_not_there_are_errors() -> None:
    with pytest.raises(ConfigError):
        from_dict({"kind": "no-such-source"})
    with pytest.raises(ConfigError):
        from_dict({"kind": "jsonl", "pathh": "x"})


@pytest.mark.parametrize(
    "path", sorted((Path(neogpt.tinyworld.__file__).parent).rglob("*.py")), ids=lambda p: p.name
)
def test_other_code_of_tinyworld_is_other_data(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file of the generator is part of the key of what it made."""
    source = tinyworld.Tinyworld()
    before = fingerprint.inputs(source, source.parts())
    assert fingerprint.inputs(source, source.parts()) == before
    real = atomic.sha256_file
    monkeypatch.setattr(atomic, "sha256_file", lambda file: "edited" if Path(file) == path else real(file))
    assert fingerprint.inputs(source, source.parts()) != before


def test_held_out_depends_on_the_text_alone_and_grows_with_the_fraction() -> None:
    texts = [f"text {i}" for i in range(20000)]
    small = {t for t in texts if held_out(t, 0.01)}
    large = {t for t in texts if held_out(t, 0.1)}
    assert small < large
    assert abs(len(large) / len(texts) - 0.1) < 0.01
    assert not any(held_out(t, 0.0) for t in texts)
    assert all(held_out(t, 1.0) for t in texts)
    assert held_out("half a pair \ud800", 1.0)
    assert {t for t in reversed(texts) if held_out(t, 0.01)} == small


# --- one text file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["To be, or not to be.\n\n", "One line after another\n", "A sentence ends. ", "words ", "\u4e2d\u6587"],
)
def test_a_file_named_by_itself_is_cut_and_nothing_is_lost(
    tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At paragraphs, else lines, else sentences, else words, else anywhere: whatever the blocks that are read."""
    whole = "".join(f"{i}{line}" for i in range(3000))
    (tmp_path / "a.txt").write_text(whole, encoding="utf-8")
    config = text.Text(path=str(tmp_path / "a.txt"), passage_chars=500)
    found, _ = read(config)
    assert max(map(len, found)) <= 2001
    assert len(found) > len(whole) // 2000
    assert "".join(found).replace("\n", "") == whole.replace("\n", "")
    if line.isascii():
        assert all(piece.rstrip().endswith(line.rstrip()[-1]) for piece in found[:-1])
    monkeypatch.setattr(text, "blocks", partial(_lines.blocks, size=77))
    assert read(config)[0] == found


def test_a_large_file_of_a_folder_is_cut_and_a_small_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("A paragraph of the book.\n\n" * 4000)
    (tmp_path / "note.txt").write_text("A paragraph of the note.\n\n" * 200)
    found, _ = read(text.Text(path=str(tmp_path)))
    assert found[-1] == "A paragraph of the note.\n\n" * 200
    assert len(found) > 40
    whole, _ = read(text.Text(path=str(tmp_path), unit="file"))
    assert len(whole) == 2


STORIES = [f"Story {i}.\n\nIt has <|endoftext|> inside, and an end." for i in range(40)]


@pytest.mark.parametrize(
    "laid_out",
    [
        "\n<|endoftext|>\n".join(STORIES),
        "\r\n<|endoftext|> \r\n".join(STORIES) + "\r\n<|endoftext|>\r\n",
        "".join(f"<|startoftext|>{story}<|endoftext|>\n" for story in STORIES),
    ],
)
def test_texts_between_marks_are_documents(
    tmp_path: Path, laid_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stories.txt").write_bytes(laid_out.encode())
    config = text.Text(path=str(tmp_path))
    assert read(config)[0] == [f"{story}\n" for story in STORIES]
    assert len(config.notes()) == 1
    assert files.Files(path=str(tmp_path)).notes() == config.notes()
    monkeypatch.setattr(text, "blocks", partial(_lines.blocks, size=50))
    assert read(config)[0] == [f"{story}\n" for story in STORIES]


def test_a_mark_within_a_text_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("It says <|endoftext|> here.\nAnd <|endoftext|> there.\n")
    config = text.Text(path=str(tmp_path))
    assert read(config)[0] == ["It says <|endoftext|> here.\nAnd <|endoftext|> there.\n"]
    assert config.notes() == []
