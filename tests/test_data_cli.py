"""`neogpt data ...`: what a user types, sees, and gets back as an exit code."""

import contextlib
import json
from pathlib import Path

import pytest
from data_helpers import prepared, texts, tokenizer, write_jsonl

from neogpt.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def texts_file(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "in" / "a.jsonl", [*texts(150), "\x1b[31mred alert\x07"])


@pytest.fixture
def trained(tmp_path: Path) -> str:
    tokenizer().save(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


def prepare(*args: str) -> int:
    return main(["data", "prepare", "jsonl", "--val-fraction", "0.1", *args])


def test_prepare_ends_with_what_was_done(
    texts_file: Path, trained: str, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert prepare("--path", str(texts_file), "--tokenizer", trained, "--out", str(out)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(out)
    assert lines[1] == "151 rows: 0 broken, 0 of no use"
    assert lines[2].startswith("done: 2 shards, 151 documents (")
    assert "tokens, manifest ok (" in lines[2]


def test_flags_may_be_written_as_training_runs_write_them(
    texts_file: Path, trained: str, capsys: Capture
) -> None:
    args = ["--source.path", str(texts_file), "--data.tokenizer", trained, "--json"]
    assert prepare(*args) == 0
    first = json.loads(capsys.readouterr().out)
    assert prepare("--path", str(texts_file), "--tokenizer", trained, "--json") == 0
    assert json.loads(capsys.readouterr().out)["folder"] == first["folder"]
    assert first["splits"]["train"]["documents"] + first["splits"]["val"]["documents"] == 151


def test_prepare_with_a_trained_tokenizer(texts_file: Path, capsys: Capture) -> None:
    assert prepare("--path", str(texts_file), "--tokenizer", "trained", "--vocab-size", "280") == 0
    folder = capsys.readouterr().out.splitlines()[0]
    assert main(["data", "show", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokenizer"]["vocab_size"] <= 280


def test_show_counts_and_decodes(texts_file: Path, trained: str, tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "out")
    prepare("--path", str(texts_file), "--tokenizer", trained, "--out", out)
    capsys.readouterr()
    assert main(["data", "show", out, "--documents", "1000", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {d["text"] for d in shown["documents"]} <= {*texts(150), "\x1b[31mred alert\x07"}
    assert len(shown["documents"]) == shown["splits"]["train"]["documents"]
    assert main(["data", "show", out, "--split", "val", "--documents", "2", "--characters", "9"]) == 0
    text = capsys.readouterr().out
    assert "  val: " in text
    assert "--- val document 1, " in text


def test_show_prints_no_control_characters(tmp_path: Path, trained: str, capsys: Capture) -> None:
    path = write_jsonl(tmp_path / "in" / "a.jsonl", [f"{i} \x1b]0;title\x07 \x9b31m" for i in range(40)])
    prepare("--path", str(path), "--tokenizer", trained, "--out", str(tmp_path / "out"))
    capsys.readouterr()
    main(["data", "show", str(tmp_path / "out")])
    assert not set(capsys.readouterr().out) & set("\x1b\x07\x9b")


def test_verify_says_ok_or_what_is_damaged(tmp_path: Path, capsys: Capture) -> None:
    folder = prepared(tmp_path)
    assert main(["data", "verify", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("ok: ")
    assert main(["data", "verify", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["tokens"] > 0
    path = folder / "train-00001.bin"
    whole = path.read_bytes()
    for data, said in (
        (whole[:-1] + bytes([whole[-1] ^ 1]), "train-00001.bin is damaged"),
        (whole[:-1], f"train-00001.bin has {len(whole) - 1} bytes"),
        (None, "train-00001.bin is missing"),
    ):
        path.write_bytes(data) if data else path.unlink()
        assert main(["data", "verify", str(folder)]) == 3
        error = capsys.readouterr().err
        assert said in error
        assert "try: prepare the data again with `neogpt data prepare`" in error
    (folder / "MANIFEST.json").unlink()
    assert main(["data", "verify", str(folder)]) == 3
    assert "try: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["prepare", "jsnl"], 2, "did you mean jsonl"),
        (["prepare", "jsonl"], 2, "--source.path"),
        (["prepare", "jsonl", "--path", "/nowhere"], 3, "there is no file or folder /nowhere"),
        (["prepare", "dolly"], 2, "dolly has no documents"),
        (["prpare"], 2, "prepare"),
        (["verify", "/nowhere"], 3, "not a prepared data set"),
        (["show", "/nowhere"], 3, "not a prepared data set"),
    ],
)
def test_mistakes_have_a_message_and_a_code(
    args: list[str], code: int, message: str, capsys: Capture
) -> None:
    assert main(["data", *args]) == code
    assert message in capsys.readouterr().err


def test_an_unknown_flag_is_a_usage_error(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["data", "prepare", "jsonl", "--pth", "x"])
    assert stopped.value.code == 2
    assert "--path" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args", [["--help"], ["prepare", "--help"], ["prepare", "text", "--help"], ["show", "-h"]]
)
def test_help_gives_examples(args: list[str], capsys: Capture) -> None:
    with contextlib.suppress(SystemExit):
        assert main(["data", *args]) == 0
    text = capsys.readouterr().out
    assert text.count("neogpt data ") >= 2
