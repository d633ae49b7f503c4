"""`neogpt generate` as a user calls it."""

import io
import json
import sys
from pathlib import Path

import pytest
from generation_models import byte_tokenizer, random_model, saved, scripted_model

from neogpt.cli.main import main
from neogpt.inference.engine import Engine
from neogpt.inference.sampling_params import SamplingParams
from neogpt.tokenizer.template import encode_prompt

TOK = byte_tokenizer()
RANDOM = random_model(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(RANDOM, tmp_path_factory.mktemp("model"))


class Terminal(io.StringIO):
    """Output that claims to be a terminal and remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


class Typed(io.StringIO):
    """Standard input of a person at a terminal."""

    def isatty(self) -> bool:
        return True


def expected(prompt: list[int], sampling: SamplingParams, n: int = 1) -> list[str]:
    return [c.text for c in Engine(RANDOM, TOK).complete([prompt] * n, sampling)]


def test_a_prompt_is_continued_and_shown_with_its_text(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sampling = SamplingParams(12, 1.5, top_k=50, top_p=0.9, repetition_penalty=1.2, stop=("e",), seed=9)
    options = "--max-new-tokens 12 --temperature 1.5 --top-k 50 --top-p 0.9 --repetition-penalty 1.2 --stop e --seed 9"
    [text] = expected([TOK.eot_id, *TOK.encode("the cat")], sampling)
    for prompt in (["the cat"], ["--prompt", "the cat"]):
        assert main(["generate", folder, *prompt, *options.split()]) == 0
        assert capsys.readouterr().out == f"the cat{text}\n"


def test_json_holds_everything_and_several_texts_differ(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--n", "3", "--temperature", "1", "--max-new-tokens", "6", "--json"]
    assert main(["generate", folder, "a", "b", *args]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["prompt"] for row in found] == ["a"] * 3 + ["b"] * 3
    assert len({row["text"] for row in found}) == 6
    ids = [[TOK.eot_id, *TOK.encode(row["prompt"])] for row in found]
    for row, completion in zip(found, Engine(RANDOM, TOK).complete(ids, SamplingParams(6, 1.0)), strict=True):
        assert row["tokens"] == completion.tokens
        assert row["text"] == completion.text
        assert row["finish_reason"] == completion.finish_reason
        assert row["log_prob"] == pytest.approx(sum(completion.log_probs))


def test_several_texts_are_told_apart(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", folder, "the", "--n", "2", "--max-new-tokens", "4", "--seed", "1"]) == 0
    first, second = expected([TOK.eot_id, *TOK.encode("the")], SamplingParams(4, seed=1), 2)
    assert capsys.readouterr().out == f"--- 1 of 2\nthe{first}\n\n--- 2 of 2\nthe{second}\n"


def test_an_instruction_goes_into_the_template(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--instruct", "--context", "the mat", "--temperature", "0", "--max-new-tokens", "9"]
    assert main(["generate", folder, "--prompt", "the cat?", *args]) == 0
    shown = capsys.readouterr()
    assert shown.out[:-1] == expected(encode_prompt(TOK, "the cat?", "the mat"), SamplingParams(9, 0.0))[0]
    assert shown.err == ""  # its tokenizer has a chat template


def test_standard_input_and_files_are_prompts(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("the 😀 dog"))
    (tmp_path / "prompt.txt").write_text("the 😀 dog", encoding="utf-8")
    assert main(["generate", folder, "--max-new-tokens", "5"]) == 0
    piped = capsys.readouterr().out
    assert (
        main(["generate", folder, "--max-new-tokens", "5", "--prompt-file", str(tmp_path / "prompt.txt")])
        == 0
    )
    assert capsys.readouterr().out == piped
    assert piped.startswith("the 😀 dog")


def test_on_a_terminal_the_text_comes_in_whole_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control characters are shown as pictures: the model cannot clear the screen or rename the window."""
    script = TOK.encode("go") + TOK.encode("ne 😀 \x1b[2J\x9b1m \ttab\x07\x7f") + [TOK.eot_id]
    model = scripted_model([TOK.eot_id, *script], TOK.vocab_size, shift=1)
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    assert main(["generate", saved(model, tmp_path), "go", "--temperature", "0"]) == 0
    assert terminal.getvalue() == "gone 😀 ␛[2J\ufffd1m \ttab␇␡\n"
    assert "😀" in terminal.writes
    assert len(terminal.writes) > 10


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--temperature", "-1", "a"], 2, "temperature is -1.0"),
        (["--temperature", "nan", "a"], 2, "temperature is nan"),
        (["--n", "0", "a"], 2, "n is 0"),
        (["--context", "b", "a"], 2, "--instruct"),
        (["--prompt-file", "absent.txt"], 3, "absent.txt"),
        ([], 2, "there is no prompt"),
        (["a" * 500], 2, "at most 63 tokens"),
        (["--device", "nonsense", "a"], 2, "nonsense"),
    ],
)
def test_what_cannot_be_is_said(
    folder: str,
    args: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", Typed())
    assert main(["generate", folder, *args]) == code
    assert words in capsys.readouterr().err


def test_a_prompt_file_that_is_not_text_is_refused(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert main(["generate", folder, "--prompt-file", str(tmp_path / "binary")]) == 3
    assert "UTF-8" in capsys.readouterr().err


def test_a_base_model_is_told_from_one_that_answers(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Path(saved(RANDOM, tmp_path / "base"))
    for stage, warned in (("pretrain", True), ("sft", False)):
        (base / "trainer.json").write_text(json.dumps({"config": {"stage": stage}}))
        assert main(["generate", str(base), "a", "--instruct", "--max-new-tokens", "1"]) == 0
        assert ("base model" in capsys.readouterr().err) == warned
    (base / "trainer.json").unlink()
    (base / "tokenizer_config.json").unlink()
    assert main(["generate", str(base), "a", "--instruct", "--max-new-tokens", "1"]) == 0
    assert "base model" in capsys.readouterr().err
    assert main(["generate", str(base), "a", "--max-new-tokens", "1"]) == 0
    assert capsys.readouterr().err == ""
