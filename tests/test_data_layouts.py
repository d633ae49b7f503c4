"""The forms in which people have instructions and preferences: each is read, and what is not read is told."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neogpt.data.sources.files import Files
from neogpt.errors import DataError
from neogpt.records import Instruction, Pair, RowStats
from neogpt.tokenizer.template import Turn

ASK, SAY, BAD, NOTE = "What does it do?", "It paints.", "I will not say.", "Be brief."
USER, ANSWER = {"role": "user", "content": ASK}, {"role": "assistant", "content": SAY}
SYSTEM = {"role": "system", "content": NOTE}
PLAIN, NOTED = Instruction(ASK, "", SAY), Instruction(ASK, NOTE, SAY)
LATER = Instruction(ASK, "", SAY, history=(Turn(ASK, "", "Draft"),))
DRAFT = {"role": "assistant", "content": "Draft"}

INSTRUCTIONS: list[tuple[dict[str, Any], Instruction]] = [
    ({"instruction": ASK, "context": NOTE, "response": SAY}, NOTED),
    ({"instruction": ASK, "input": NOTE, "output": SAY}, NOTED),
    ({"system_prompt": NOTE, "question": ASK, "response": SAY}, NOTED),
    ({"question": ASK, "answer": SAY}, PLAIN),
    ({"prompt": ASK, "completion": SAY}, PLAIN),
    ({"prompt": [SYSTEM, USER], "completion": [ANSWER]}, NOTED),
    ({"prompt": ASK, "completion": [ANSWER]}, PLAIN),
    ({"messages": [USER, ANSWER]}, PLAIN),
    ({"prompt": "Once more", "prompt_id": "7", "messages": [USER, ANSWER]}, PLAIN),
    ({"messages": json.dumps([USER, ANSWER])}, PLAIN),
    ({"messages": [USER, ANSWER], "system": NOTE}, NOTED),
    ({"messages": [{"role": "developer", "content": NOTE}, USER, ANSWER]}, NOTED),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": ASK}]},
                   {"role": "assistant", "content": [{"type": "text", "text": "It "},
                                                     {"type": "text", "text": "paints."}]}]}, PLAIN),
    ({"messages": [SYSTEM, {**SYSTEM, "content": "Be kind."}, USER, ANSWER]},
     Instruction(ASK, f"{NOTE}\n\nBe kind.", SAY)),
    ({"messages": [USER, USER, ANSWER]}, Instruction(f"{ASK}\n\n{ASK}", "", SAY)),
    ({"messages": [USER, DRAFT, ANSWER]}, Instruction(ASK, "", f"Draft\n\n{SAY}")),
    ({"messages": [USER, DRAFT, USER, ANSWER, USER]}, LATER),
    ({"messages": [USER, {**DRAFT, "weight": 0}, USER, {**ANSWER, "weight": 1}]},
     Instruction(ASK, "", SAY, history=(Turn(ASK, "", "Draft", learned=False),))),
    ({"messages": [USER, ANSWER, USER, {**DRAFT, "weight": 0}]}, PLAIN),
    ({"conversations": [{"from": "human", "value": ASK}, {"from": "gpt", "value": SAY}]}, PLAIN),
    ({"conversations": [{"from": "gpt", "value": "Hello"}, {"from": "system", "value": NOTE},
                        {"from": "human", "value": ASK}, {"from": "gpt", "value": SAY}]}, NOTED),
]  # fmt: skip
PAIRS: list[dict[str, Any]] = [
    {"instruction": ASK, "chosen": SAY, "rejected": BAD},
    {"prompt": ASK, "chosen": SAY, "rejected": BAD},
    {"question": ASK, "chosen": SAY, "rejected": BAD},
    {"prompt": ASK, "chosen": [ANSWER], "rejected": [{**ANSWER, "content": BAD}]},
    {"prompt": ASK, "chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": BAD}]},
    {"prompt": [USER], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": BAD}]},
]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def array(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.with_suffix(".json").write_text(json.dumps(rows, indent=1))
    return path.with_suffix(".json")


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def arrow(path: Path, rows: list[dict[str, Any]]) -> Path:
    """As `save_to_disk` of the library datasets writes it: Arrow's stream."""
    import pyarrow as pa

    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(path.with_suffix(".arrow"), table.schema) as writer:
        writer.write_table(table)
    return path.with_suffix(".arrow")


def separated(path: Path, rows: list[dict[str, Any]], suffix: str = ".csv") -> Path:
    with path.with_suffix(suffix).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="," if suffix == ".csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
    return path.with_suffix(suffix)


def tsv(path: Path, rows: list[dict[str, Any]]) -> Path:
    return separated(path, rows, ".tsv")


Write = Callable[[Path, list[dict[str, Any]]], Path]


@pytest.mark.parametrize("write", [jsonl, array, parquet, arrow])
@pytest.mark.parametrize(("row", "expected"), INSTRUCTIONS)
def test_instructions_of_every_form(
    tmp_path: Path, write: Write, row: dict[str, Any], expected: Instruction
) -> None:
    path = write(tmp_path / "a.jsonl", [row])
    bad = RowStats()
    assert list(Files(path=str(path)).instructions(bad)) == [expected], bad.reasons


@pytest.mark.parametrize("write", [jsonl, parquet])
@pytest.mark.parametrize("row", PAIRS)
def test_pairs_of_every_form(tmp_path: Path, write: Write, row: dict[str, Any]) -> None:
    path = write(tmp_path / "a.jsonl", [row])
    assert list(Files(path=str(path)).pairs(RowStats())) == [Pair(ASK, "", SAY, BAD)]


@pytest.mark.parametrize("write", [separated, tsv])
def test_cells_may_hold_line_breaks_quotes_and_nothing(tmp_path: Path, write: Write) -> None:
    rows = [
        {"instruction": 'Say "a,\tb"\nand more', "context": "", "response": "a,\tb\n\nc"},
        {"instruction": "\u4e2d?", "context": NOTE, "response": SAY},
    ]
    found = list(Files(path=str(write(tmp_path / "a.jsonl", rows))).instructions(RowStats()))
    assert [[item.instruction, item.context, item.response] for item in found] == [
        list(row.values()) for row in rows
    ]


@pytest.mark.parametrize("write", [jsonl, array, parquet, separated])
def test_columns_that_are_not_read_are_told(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "a.jsonl", [{"instruction": ASK, "output": SAY, "source": "web", "score": "3"}])
    bad = RowStats()
    list(Files(path=str(path)).instructions(bad))
    (note,) = bad.notes
    read, left = note.split("not read:")
    assert "instruction" in read
    assert "output" in read
    assert left.split() == ["source,", "score"]


@pytest.mark.parametrize("write", [jsonl, array, parquet, separated])
@pytest.mark.parametrize("setting", ["context_column", "category_column"])
def test_a_named_column_that_is_not_there_is_an_error(tmp_path: Path, write: Write, setting: str) -> None:
    """The nearest is named, and typing that helps."""
    path = write(tmp_path / "a.jsonl", [{"instruction": ASK, "input": NOTE, "output": SAY}])
    with pytest.raises(DataError) as error:
        list(Files(path=str(path), **{setting: "inptu"}).instructions(RowStats()))
    assert error.value.code == "data.no_such_column"
    flag, name = error.value.hint.split()
    assert (flag, name) == (f"--source.{setting.replace('_', '-')}", "input")
    assert len(list(Files(path=str(path), **{setting: name}).instructions(RowStats()))) == 1


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.json", "{", "data.not_json"),
        ("a.json", "3", "data.not_json"),
        ("a.csv", "instruction,instruction\na,b\n", "data.two_columns_of_one_name"),
        ("a.csv", "instruction,response\n\xff,b\n", "data.not_text"),
        ("a.arrow", "no", "data.damaged"),
    ],
)
def test_files_that_are_not_what_their_name_says(tmp_path: Path, name: str, content: str, code: str) -> None:
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError) as error:
        list(Files(path=str(tmp_path / name)).instructions(RowStats()))
    assert error.value.code == code


def test_rows_with_tools_are_left_out_and_counted(tmp_path: Path) -> None:
    """However many there are: they are of no use here, and nothing is damaged."""
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    tools = {"messages": [USER, call, {"role": "tool", "content": "3"}, ANSWER]}
    bad = RowStats()
    path = jsonl(tmp_path / "a.jsonl", [tools, {"messages": [USER, ANSWER]}])
    assert list(Files(path=str(path)).instructions(bad)) == [PLAIN]
    assert (bad.n_filtered, bad.n_malformed) == (1, 0)


def test_unpaired_preferences_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"prompt": ASK, "completion": SAY, "label": True}])
    with pytest.raises(DataError) as error:
        list(Files(path=str(path)).pairs(RowStats()))
    assert "KTO" in str(error.value)


@pytest.mark.parametrize("name", ["A.CSV", "old.json.csv", "a.csv.gz", "b.csv.tsv", "C.CSV.GZ"])
def test_the_last_suffix_says_what_a_file_is(tmp_path: Path, name: str) -> None:
    """Whatever its case, and whatever else stands in the name. An index without a name is a column like any other."""
    mark = b"\t" if name.endswith("tsv") else b","
    content = b"\n".join([b",instruction,response", b"0,Who?,She.", b"1,Where?", b""]).replace(b",", mark)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
    bad = RowStats()
    assert list(Files(path=str(tmp_path)).instructions(bad)) == [Instruction("Who?", "", "She.")]
    assert (bad.n_filtered, bad.n_malformed) == (1, 0)


@pytest.mark.parametrize("index", ["", "n"])
def test_more_cells_than_names_are_counted(tmp_path: Path, index: str) -> None:
    rows = [f"{i},Who is {i}?,She." for i in range(200)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join([f"{index},instruction,response", *rows, "200,Where?,Rome,and more"]) + "\n")
    bad = RowStats()
    assert len(list(Files(path=str(path)).instructions(bad))) == 200
    assert (bad.n_malformed, bad.shown[0].line) == (1, 202)


def test_text_nested_too_deeply_is_no_conversation(tmp_path: Path) -> None:
    rows = [{"messages": json.dumps([{**USER, "content": f"{i}?"}, ANSWER])} for i in range(200)]
    bad = RowStats()
    path = jsonl(tmp_path / "a.jsonl", [*rows, {"messages": "[" * 100_000}])
    assert len(list(Files(path=str(path)).instructions(bad))) == 200
    assert bad.n_malformed == 1
