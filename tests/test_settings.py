"""What is wrong with a run is said before any data is read or torch is loaded, with `--dry-run` too."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from data_helpers import tokenizer
from training import ROOT

from neogpt.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache without anything in it, and no Hub."""
    monkeypatch.setenv("NEOGPT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NEOGPT_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("dry", [["--dry-run"], []], ids=["dry", "real"])
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--batch.micro-batches 3", ["a batch of 512 does not divide into 3", "--batch.micro-batches 2"]),
        ("--steps 10 --tokens 10", ["both --steps 10 and --tokens 10 are set", "--tokens 10 alone"]),
        ("--steps 0 --tokens 0", ["a horizon", "--steps 1000"]),
        ("--eval.names hellaswg", ["no eval named 'hellaswg'", "did you mean hellaswag?"]),
        (
            "--trackers wand",
            ["no tracker named 'wand'", "tensorboard", "--trackers wandb, or --trackers none"],
        ),
        ("--trackers mlflow", ["no tracker named 'mlflow'", "--trackers tensorboard, or --trackers none"]),
        (
            "--model.vocab-size 50304",
            ["--model.vocab-size 50304", "has 50257 ids", "leave --model.vocab-size"],
        ),
        ("--model.vocab_size=50304", ["has 50257 ids"]),
        (
            "--data.tokenizer trained --data.vocab-size 900 --model.vocab-size 800",
            ["has 900 ids", "--data.vocab-size 800 in its place"],
        ),
    ],
)
def test_what_cannot_run_is_refused_at_once(
    flags: str, said: list[str], dry: list[str], capsys: Capture
) -> None:
    assert main(["pretrain", "gpt2-124m", *flags.split(), *dry]) == 2
    shown = capsys.readouterr().err
    assert all(part in shown for part in said), shown
    assert not list(Path().iterdir())


def test_the_processes_of_torchrun_count(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert main(["pretrain", "gpt2-124m", "--dry-run"]) == 2
    assert "cannot be shared by 3 processes" in capsys.readouterr().err


def test_a_number_of_ids_that_is_the_tokenizers_may_be_typed(tmp_path: Path, capsys: Capture) -> None:
    ours = tokenizer()
    ours.save(tmp_path / "words")
    flags = ["laptop", "--data.tokenizer", "words", "--model.vocab-size"]
    assert main(["pretrain", *flags, str(ours.vocab_size), "--dry-run"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["model"]["vocab_size"] == ours.vocab_size
    assert main(["plan", *flags, str(ours.vocab_size)]) == 0
    assert f"{ours.vocab_size:,} ids" in capsys.readouterr().out
    for command in ("plan", "pretrain"):
        assert main([command, *flags, "50257"]) == 2
        assert f"has {ours.vocab_size} ids" in capsys.readouterr().err


def test_a_number_of_ids_that_nobody_typed_gives_way(tmp_path: Path, capsys: Capture) -> None:
    """That of the recipe, of a file written by --dry-run, and of a run that begins with another's weights."""
    tokenizer().save(tmp_path / "words")
    assert main(["pretrain", "laptop", "--data.tokenizer", "words", "--dry-run"]) == 0
    Path("mine.toml").write_text(capsys.readouterr().out)
    assert main(["pretrain", "laptop", "--config", "mine.toml", "--dry-run"]) == 0
    assert main(["pretrain", "tinyworld", "--data.vocab-size", "1055", "--dry-run"]) == 0
    assert main(["pretrain", "laptop", "--from", "runs/base", "--model.vocab-size", "4096", "--dry-run"]) == 0


@pytest.mark.parametrize("where", ["model", "runs/base/checkpoints/step-00000002"])
def test_a_typed_shape_is_that_of_the_model_to_begin_with(where: str, capsys: Capture) -> None:
    folder = Path(where)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"n_layer": 4, "n_embd": 64, "n_head": 4}')
    begin = ["pretrain", "laptop", "--dry-run", "--from", where.removesuffix("/checkpoints/step-00000002")]
    assert main([*begin, "--model.n-layer", "4", "--model.n_embd=64"]) == 0
    capsys.readouterr()
    for flag in ("--model.n-layer", "--model.n_layer"):
        assert main([*begin, flag, "8"]) == 2
        shown = capsys.readouterr().err
        assert f"--model.n-layer 8, but the model in {begin[-1]} has 4" in shown
        assert "leave --model.* out" in shown
    (folder / "config.json").write_text("{")
    assert main([*begin, "--model.n-layer", "8"]) == 0  # loading it will say what is wrong with it


def test_no_torch_is_needed_to_say_so() -> None:
    code = "import sys; from neogpt.cli.main import main; main(['pretrain', 'laptop', '--dry-run']); "
    done = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.split()[-1] == "False"


@pytest.mark.parametrize(
    ("command", "recipe"),
    [("pretrain", "tinyworld"), ("sft", "sft-dolly"), ("dpo", "dpo-balanced"), ("rl", "rl-dolly")],
)
def test_any_recipe_takes_another_source_with_its_own_settings(
    command: str, recipe: str, capsys: Capture
) -> None:
    for typed in (["--source", "jsonl"], ["--source=jsonl"]):
        assert main([command, recipe, *typed, "--source.text-column", "body", "--dry-run"]) == 0
        found = tomllib.loads(capsys.readouterr().out)["source"]
        assert (found["kind"], found["text_column"], found["path"]) == ("jsonl", "body", "")
    with pytest.raises(SystemExit):
        main([command, recipe, "--source", "jsonl", "--help"])
    assert "--source.text-column" in capsys.readouterr().out
    assert main([command, recipe, "--source", "jsonll", "--dry-run"]) == 2
    assert "jsonl" in capsys.readouterr().err


def test_the_source_of_a_file_and_one_that_is_typed(tmp_path: Path, capsys: Capture) -> None:
    """A file may choose the source; another one that is typed begins with its own defaults."""

    def found(*args: str) -> dict[str, object]:
        assert main(["sft", "sft-dolly", *args, "--dry-run"]) == 0
        return dict(tomllib.loads(capsys.readouterr().out)["source"])

    file = tmp_path / "mine.toml"
    file.write_text('[source]\nkind = "jsonl"\npath = "rows.jsonl"\n')
    assert found("--config", str(file))["path"] == "rows.jsonl"
    assert found("--config", str(file), "--source", "jsonl")["path"] == "rows.jsonl"
    assert found("--config", str(file), "--source", "dolly") == found()
    file.write_text('[source]\npath = "mine"\n')
    assert (found("--config", str(file))["kind"], found("--config", str(file))["path"]) == ("dolly", "mine")
    file.write_text('source_name = "dolly"\n')
    assert main(["sft", "sft-dolly", "--config", str(file), "--dry-run"]) == 2
    assert "source.kind" in capsys.readouterr().err
