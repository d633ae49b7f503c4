"""The command line's exit codes and messages: what happened, what was expected, what to type."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training import PYTHON, ROOT, Launcher, different, events, flags, outcome, saved

from neogpt import config
from neogpt.cli import main as command_line
from neogpt.paths import RunDir
from neogpt.recipes import tinyworld

Say = Callable[..., tuple[int, str]]


@pytest.fixture
def neogpt(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """`neogpt ARGS` in an empty folder -> its exit code, and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*args: str) -> tuple[int, str]:
        try:
            code = command_line.main(list(args))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        out, err = capsys.readouterr()
        return code, out + err

    return call


def pretrain(*more: str) -> list[str]:
    return ["pretrain", "tinyworld", *flags("pretrain", *more)]


def test_no_command_is_help_and_version_is_one_line(neogpt: Say) -> None:
    assert neogpt() == neogpt("--help")
    code, text = neogpt("--version")
    assert code == 0
    assert text.startswith("neogpt 0.")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["pretain"], ["no command named 'pretain'", "did you mean pretrain?"]),
        (["--frobnicate"], ["no command named '--frobnicate'"]),
        (["_train"], ["no command named '_train'"]),
        (["main"], ["no command named 'main'"]),
        (["pretrain"], ["needs a recipe", "one of ", "tinyworld"]),
        (["pretrain", "tinywrld"], ["no recipe named 'tinywrld'", "did you mean tinyworld?"]),
        (["dpo", "laptop"], ["no recipe for dpo named 'laptop'", "one of ", "tinyworld"]),
        (["pretrain", "tinyworld", "--optim.lrr", "1"], ["--optim.lrr", "--optim.lr FLOAT"]),
        (["pretrain", "tinyworld", "--steps", "many"], ["--steps", "many"]),
        (["pretrain", "tinyworld", "--config", "no.toml"], ["there is no file no.toml"]),
        (["pretrain", "tinyworld", "--device", "cdua"], ["'cdua' is no device", "--device auto"]),
        (["sft", "tinyworld"], ["sft has no model to start from", "--from runs/NAME"]),
        (pretrain("--steps", "0"), ["0 steps, 0 tokens and 0 hours", "a horizon", "--steps 1000"]),
        (pretrain("--tokens", "100"), ["both --steps 12 and --tokens 100", "one of them"]),
        (pretrain("--eval.names", "tinywrld"), ["no eval named 'tinywrld'", "did you mean tinyworld?"]),
        (pretrain("--objective.seq-len", "65"), ["65 tokens do not fit a context of 64"]),
        (pretrain("--model.n-head", "5"), ["n_embd 32 does not divide into n_head 5", "--model.n-head 4"]),
        (pretrain("--model.n-layer", "0"), ["n_layer is 0"]),
        (pretrain("--optim.lr", "nan"), ["lr is nan"]),
        (pretrain("--data.vocab-size", "300"), ["whole words", "do not fit into 300 tokens"]),
        (
            pretrain("--batch.size", "30"),
            ["a batch of 30 does not divide into 4", "1, 2, 3, 5, 6, 10, 15, 30", "--batch.size 32"],
        ),
    ],
)  # fmt: skip
def test_usage_errors_are_code_2_and_say_what_to_type(args: list[str], said: list[str], neogpt: Say) -> None:
    code, text = neogpt(*args)
    assert code == 2, text
    for part in said:
        assert part in text
    assert "Traceback" not in text
    assert not list(Path().rglob("metrics.jsonl"))


def test_a_device_that_is_not_here(neogpt: Say) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    code, text = neogpt(*pretrain("--device", "cuda"))
    assert (code, "--device cpu" in text) == (2, True)


def test_unknown_key_in_a_settings_file(neogpt: Say) -> None:
    Path("mine.toml").write_text("[optim]\nlearning_rate = 1.0\n[batch]\nsise = 3\n")
    code, text = neogpt("pretrain", "tinyworld", "--config", "mine.toml")
    assert code == 2
    assert "mine.toml: there is no setting named 'optim.learning_rate'" in text
    Path("mine.toml").write_text("[batch]\nsise = 3\n")
    assert "did you mean batch.size" in neogpt("pretrain", "tinyworld", "--config", "mine.toml")[1]


def test_dry_run_prints_settings_that_can_be_read_back(neogpt: Say) -> None:
    code, text = neogpt(
        "pretrain", "tinyworld", "--dry-run", "--run", "here", "--steps", "7", "--optim.lr", "0.5"
    )
    assert code == 0
    assert text.startswith("# run: here\n")
    values = tomllib.loads(text)
    assert (values["steps"], values["optim"]["lr"]) == (7, 0.5)
    Path("mine.toml").write_text(text)
    expected = config.parse(tinyworld.pretrain(), ["--steps", "7", "--optim.lr", "0.5"])
    assert config.parse(tinyworld.pretrain(), file=Path("mine.toml")) == expected
    assert [path.name for path in Path().iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("runs/nothing", "there is no model at runs/nothing"),
        ("empty", "empty holds no checkpoint"),
        ("old.pt", "old.pt is a file"),
        ("shelf", "one of its runs: shelf/a"),
    ],
)
def test_a_starting_model_that_is_none_is_code_4(start: str, said: str, neogpt: Say) -> None:
    Path("empty").mkdir()
    Path("old.pt").write_bytes(b"\x80\x02.")
    Path("shelf/a/checkpoints").mkdir(parents=True)
    code, text = neogpt("sft", "tinyworld", "--from", start)
    assert code == 4, text
    assert said in text
    assert "Traceback" not in text


def test_json_is_a_bare_flag_of_list_and_its_old_form_goes_on(neogpt: Say) -> None:
    code, text = neogpt("list", "evals", "--json")
    assert (code, set(json.loads(text))) == (0, {"evals"})
    assert neogpt("list", "evals", "--json", "True") == (0, text)
    assert neogpt("list", "evals", "--json", "False") == neogpt("list", "evals")


def test_v_adds_the_traceback(neogpt: Say) -> None:
    assert "Traceback" in neogpt("sft", "tinyworld", "-v")[1]


def test_a_folder_that_cannot_be_written_is_an_error_without_traceback(neogpt: Say) -> None:
    Path("file").touch()
    code, text = neogpt(*pretrain("--run", "file/run"))
    assert code == 4
    assert "file/run" in text
    assert "Not a directory" in text
    assert "try: move file" in text
    assert "--run" in text
    assert "free" not in text
    assert "Traceback" not in text


def test_ctrl_c_while_preparing_is_code_130(neogpt: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("neogpt.train.run.prepare", interrupted)
    assert neogpt(*pretrain()) == (130, "neogpt: stopped\n")


def test_a_closed_pipe_is_no_error() -> None:
    command = ["bash", "-o", "pipefail", "-c", '"$0" -m neogpt list | true', sys.executable]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr


def test_processes_without_torchruns_environment(neogpt: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    code, text = neogpt(*pretrain())
    assert code == 2
    assert "torchrun --nproc-per-node 2" in text


# runs


@pytest.fixture
def finished(bases: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a finished tiny run, to be resumed."""

    def copy(stage: str) -> Path:
        return Path(shutil.copytree(bases[stage], tmp_path / stage))

    return copy


def test_a_run_by_command_line(launcher: Launcher, bases: dict[str, Path], tmp_path: Path) -> None:
    """The files that a run leaves, the command in its ledger, and a second start that is refused."""
    args = [*pretrain("--run", str(tmp_path / "run"))]
    group = launcher.neogpt(*args)
    assert group.wait() == [0], group.text()
    assert "start at step 0 of 12: cpu, 1 process(es)" in group.text()
    assert "done: 12 steps" in group.text()
    run = RunDir(tmp_path / "run")
    assert {path.name for path in run.root.iterdir()} == {
        *("config.toml", "metrics.jsonl", "events.jsonl", "checkpoints", ".lock")
    }
    (start,) = events(run.root, "start")
    assert start["command"].startswith("neogpt pretrain tinyworld --threads 1")
    values = tomllib.loads(run.config.read_text())
    assert (values["steps"], values["device"], values["dtype"], values["threads"]) == (
        12,
        "cpu",
        "float32",
        1,
    )
    state = json.loads((run.checkpoint(12) / "trainer.json").read_text())
    assert (state["step"], state["tokens"]) == (12, 12 * 8 * 48)
    mine, theirs = outcome(run.root), outcome(bases["pretrain"])
    assert [name for name in different(mine, theirs) if "jsonl" not in name] == []
    refused = launcher.neogpt(*args)
    assert refused.wait() == [2]
    assert "there is already a run" in refused.text()
    assert "--resume auto, or --run with another folder" in refused.text()
    resumed = launcher.neogpt(*args, "--resume")
    assert resumed.wait() == [0]
    assert different(outcome(run.root), mine) == []


def test_changed_settings_are_named_each(neogpt: Say, finished: Callable[[str], Path]) -> None:
    folder = finished("pretrain")
    before = outcome(folder)
    more = ["--steps", "20", "--seed", "5", "--optim.lr", "0.1", "--source.seed", "3", "--threads", "2"]
    code, text = neogpt(*pretrain("--run", str(folder), "--resume", *more))
    assert code == 2
    assert "other settings" in text
    for line in (
        "optim.lr: 0.003 -> 0.1",
        "seed: 0 -> 5",
        "source.seed: 0 -> 3",
        "steps: 12 -> 20",
        "threads: 1 -> 2",
    ):
        assert line in text
    assert "model." not in text
    assert different(outcome(folder), before) == []


def test_changed_shape_is_named(neogpt: Say, finished: Callable[[str], Path]) -> None:
    folder = finished("pretrain")
    code, text = neogpt(*pretrain("--run", str(folder), "--resume", "--model.n-layer", "3"))
    assert code == 2
    assert "model.n_layer: 2 -> 3" in text


def test_tokens_are_no_horizon_where_steps_vary(neogpt: Say, bases: dict[str, Path]) -> None:
    start = ["--from", str(bases["pretrain"]), "--steps", "0", "--tokens", "900"]
    code, text = neogpt("sft", "tinyworld", *flags("sft"), *start)
    assert code == 2
    assert "a step of sft has no fixed number of them" in text


def test_another_starting_model_is_named(
    neogpt: Say, finished: Callable[[str], Path], bases: dict[str, Path]
) -> None:
    folder = finished("sft")
    other = str(RunDir(bases["pretrain"]).checkpoint(10))
    args = ["sft", "tinyworld", *flags("sft"), "--run", str(folder), "--resume", "--from", other]
    code, text = neogpt(*args)
    assert code == 4
    assert "the starting model (or tokenizer) is not the one that the run was made with" in text


def test_changed_data_is_named(neogpt: Say, bases: dict[str, Path]) -> None:
    """One answer in a file changes between start and resume: code 3, and the run is as it was."""
    from neogpt.data.sources import dolly
    from neogpt.recipes import sft_dolly

    assert isinstance(sft_dolly.sft().source, dolly.Dolly)
    rows = [
        {"instruction": f"Say {i}.", "context": "", "response": f"It is {i}.", "category": "x"}
        for i in range(80)
    ]

    def write() -> None:
        Path("dolly.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    write()
    tiny = ["--device", "cpu", "--dtype", "float32", "--threads", "1", "--steps", "2", "--batch.size", "4"]
    sizes = ["--objective.max-tokens", "64", "--objective.val-fraction", "0.1", "--eval.names"]
    start = ["--from", str(bases["pretrain"]), "--source.path", "dolly.jsonl", "--run", "run"]
    args = ["sft", "sft-dolly", *tiny, *sizes, *start]
    code, text = neogpt(*args)
    assert code == 0, text
    before = outcome(Path("run"))
    rows[3]["response"] = "It is 33."
    write()
    code, text = neogpt(*args, "--resume")
    assert code == 3, text
    assert "the training data is not what the run was made with" in text
    assert different(outcome(Path("run")), before) == []


@pytest.mark.parametrize("folder", ["elsewhere/step-00000002", "pretrain/checkpoints/latest", "pretrain"])
def test_a_checkpoint_that_is_not_the_runs_is_code_4(
    folder: str, neogpt: Say, finished: Callable[[str], Path]
) -> None:
    run = finished("pretrain")
    shutil.copytree(RunDir(run).checkpoint(10), "elsewhere/step-00000002")
    shutil.copytree(RunDir(run).checkpoint(10), RunDir(run).checkpoints / "latest")
    code, text = neogpt(*pretrain("--run", "pretrain", "--resume", folder))
    assert code == 4, text
    assert "is no checkpoint of the run pretrain" in text
    assert "--resume auto" in text
    assert saved(run) == [10, 12]


def test_the_real_program_by_module(tmp_path: Path) -> None:
    """`python -m neogpt` gives the exit code to the shell."""
    command = [PYTHON, "-m", "neogpt", "pretain"]
    ended = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert ended.returncode == 2
    assert ended.stdout == b""
    assert b"did you mean pretrain?" in ended.stderr


def test_settings_of_every_recipe_parse(neogpt: Say) -> None:
    """Each recipe's own values, and each stage of it, print as settings."""
    from neogpt import plugins
    from neogpt.cli import _train

    stages: dict[str, list[Any]] = {stage: _train.recipes(stage) for stage in ("pretrain", "sft", "dpo")}
    assert all(stages.values())
    for stage, names in stages.items():
        for name in names:
            code, text = neogpt(stage, name, "--dry-run")
            assert code == 0
            assert tomllib.loads(text)["stage"] == stage
    assert plugins.names("neogpt.recipes")
