"""`neogpt tokenizer train` and `show`, run as a user runs them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from neogpt.cli.main import main
from neogpt.tokenizer import Tokenizer

TEXT = (
    "Kelom lives in Aldermere. The pet of Kelom is a dog. Ravus has an owl, and the owl has a red hat.\n" * 20
)


@pytest.fixture
def text(tmp_path: Path) -> str:
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return str(file)


def run(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> str:
    """What the command prints; its errors when it is to fail."""
    assert main(["tokenizer", *args]) == code
    out, err = capsys.readouterr()
    return err if code else out


def run_json(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(capsys, *args, "--json"))
    return found


def test_train_writes_the_tokenizer_that_python_trains(
    capsys: pytest.CaptureFixture[str], text: str, tmp_path: Path
) -> None:
    out = tmp_path / "tok"
    said = run(capsys, "train", text, "--vocab-size", "300", "--out", str(out))
    tokenizer = Tokenizer.load(out)
    assert tokenizer.fingerprint == Tokenizer.train([TEXT], 300).fingerprint
    assert f"wrote {out}: 300 tokens, end-of-text 299, fingerprint {tokenizer.fingerprint[:12]}" in said
    assert f"1 documents, {len(TEXT):,} characters" in said
    rate = len(TEXT.encode()) / len(tokenizer.encode(TEXT))
    assert f"{rate:.2f} bytes a token" in said


def test_train_reads_every_kind_of_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    (folder / "b.jsonl").write_text(
        "".join(json.dumps({"body": f"row {i} says ja"}) + "\n" for i in range(9))
    )
    (folder / "c.txt.gz").write_bytes(gzip.compress(b"zipped zipped zipped"))
    found = run_json(capsys, "train", str(folder), "--column", "body", "--out", str(tmp_path / "tok"))
    texts = [TEXT, "zipped zipped zipped", *(f"row {i} says ja" for i in range(9))]
    assert found["documents"] == 11
    assert found["characters"] == sum(map(len, texts))
    assert found["fingerprint"] == Tokenizer.train(texts, 8192).fingerprint
    assert Tokenizer.load(tmp_path / "tok").fingerprint == found["fingerprint"]
    assert found["vocab_size"] < 8192


def test_train_can_be_told_words_and_a_limit(
    capsys: pytest.CaptureFixture[str], text: str, tmp_path: Path
) -> None:
    (tmp_path / "names").write_text("Zebulon\nVorin\n")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": "many words here"}) + "\n" for _ in range(50)))
    out = str(tmp_path / "tok")
    options = ("--whole-words", str(tmp_path / "names"), "--max-characters", "100")
    found = run_json(capsys, "train", str(rows), text, "--out", out, *options)
    assert (found["documents"], found["characters"]) == (7, 105)
    assert len(Tokenizer.load(out).encode("Zebulon Vorin Vorin")) == 3
    assert "the first 100: --max-characters" in run(capsys, "train", str(rows), text, "--out", out, *options)


def test_train_never_replaces_another_tokenizer(
    capsys: pytest.CaptureFixture[str], text: str, tmp_path: Path
) -> None:
    out = str(tmp_path / "tok")
    run(capsys, "train", text, "--vocab-size", "300", "--out", out)
    run(capsys, "train", text, "--vocab-size", "300", "--out", out)
    said = run(capsys, "train", text, "--vocab-size", "310", "--out", out, code=2)
    assert "already has another tokenizer" in said
    assert "--force" in said
    assert Tokenizer.load(out).vocab_size == 300
    run(capsys, "train", text, "--vocab-size", "305", "--out", out, "--force")
    assert Tokenizer.load(out).vocab_size == 305


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "there is no text in"),
        ("blank.txt", b" \n\n", "there is no text in"),
        ("empty.jsonl", b"", "there is no text in"),
        ("binary.txt", bytes(range(256)) * 9, "binary, not UTF-8 text"),
        ("latin.txt", "café".encode("latin-1"), "not UTF-8 text"),
        ("utf16.txt", "wide".encode("utf-16"), "UTF-16, not UTF-8 text"),
        ("broken.jsonl", b'{"text": "a"}\n{"text": \n', "broken.jsonl:2"),
        ("other.jsonl", b'{"body": "a"}\n', "--column"),
        ("cut.txt.gz", gzip.compress(TEXT.encode(), mtime=0)[:-30], "cannot be read"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    said = run(capsys, "train", str(tmp_path / name), "--out", str(tmp_path / "tok"), code=3)
    assert message in said
    assert name in said
    assert not (tmp_path / "tok").exists()


def test_train_says_what_does_not_exist(
    capsys: pytest.CaptureFixture[str], text: str, tmp_path: Path
) -> None:
    out = ("--out", str(tmp_path / "tok"))
    assert "no file or folder nothing.txt" in run(capsys, "train", text, "nothing.txt", *out, code=3)
    assert "cannot read no-words" in run(capsys, "train", text, "--whole-words", "no-words", *out, code=3)
    assert "257 to 65536" in run(capsys, "train", text, "--vocab-size", "9", *out, code=2)
    assert "cannot write" in run(capsys, "train", text, "--out", f"{text}/tok", code=3)


def test_show_cuts_a_text(capsys: pytest.CaptureFixture[str], text: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.train([TEXT], 300)
    tokenizer.save(tmp_path / "tok")
    sample = "Kelom\x1b[31m 😀<|endoftext|>"
    found = run_json(capsys, "show", str(tmp_path / "tok"), sample)
    assert found["ids"] == tokenizer.encode(sample)
    assert found["fingerprint"] == tokenizer.fingerprint
    assert "".join(found["pieces"]).endswith("m\x1b[31m \\xf0\\x9f\\x98\\x80<|endoftext|>")
    said = run(capsys, "show", str(tmp_path / "tok" / "tokenizer.json"), sample)
    assert f"{len(found['ids'])} tokens, {len(sample.encode())} bytes" in said
    assert "\x1b" not in said
    assert "b'\\xf0'" in said
    assert "0 tokens, 0 bytes" in run(capsys, "show", str(tmp_path / "tok"), "")


def test_show_says_what_a_tokenizer_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Tokenizer.train([TEXT], 300).save(tmp_path)
    said = run(capsys, "show", str(tmp_path))
    assert "300 tokens, end-of-text 299" in said
    assert "'Kelom'" in said or "' Kelom'" in said
    assert run_json(capsys, "show", str(tmp_path))["vocab_size"] == 300


def test_show_knows_gpt2(
    capsys: pytest.CaptureFixture[str], real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_json(capsys, "show", "gpt2", "Hello world")["ids"] == [15496, 995]
    monkeypatch.delenv("NEOGPT_DATA")
    assert "forbids the network" in run(capsys, "show", "gpt2", code=3)


def test_show_and_verbs_that_do_not_exist(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "cannot read" in run(capsys, "show", str(tmp_path / "nothing"), code=3)
    assert "did you mean train?" in run(capsys, "trian", code=2)
    assert "usage: neogpt tokenizer train" in run(capsys, "--help")
