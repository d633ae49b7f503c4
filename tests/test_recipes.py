"""Every recipe gives settings that hold together; adding a file is enough to add one."""

import dataclasses
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from neogpt import config, ledger, plugins
from neogpt.batching import micro_size
from neogpt.cli import _train
from neogpt.cli import demo as demo_command
from neogpt.cli import report as report_command
from neogpt.config import AnyRun
from neogpt.data.source import source_by_name
from neogpt.data.sources import dolly, red_team_pairs, tinyworld
from neogpt.errors import ConfigError, RegressedError
from neogpt.evals import evaluator, formats, instructions, over_refusal, samples
from neogpt.objectives.dpo.objective import DPO
from neogpt.objectives.rl.sft_mix import SFTMix
from neogpt.recipes import demo
from neogpt.records import Pair, RowStats
from neogpt.tokenizer import Tokenizer
from neogpt.train.run import train

BAD = {"prompt": "Bad %d", "response_a": "No.", "response_b": "Yes.", "preferred": "A"}
GOOD = {"instruction": "Good %d", "context": "", "response": "Yes.", "category": "open_qa"}
STAGES = plugins.names("neogpt.objectives")
RECIPES = [(stage, name) for stage in STAGES for name in _train.recipes(stage)]


@pytest.mark.parametrize(("stage", "name"), RECIPES)
def test_recipe_holds_together(stage: str, name: str, tmp_path: Path) -> None:
    run = _train.recipe(stage, name)
    assert (run.stage, run.recipe) == (stage, name)
    assert run.steps > 0 or run.tokens > 0
    assert micro_size(run.batch.size, run.batch.micro_batches) >= 1
    assert isinstance(run.objective, plugins.get("neogpt.objectives", stage).Config)
    assert isinstance(run.source, source_by_name(run.source.kind))
    for eval_name in run.eval.names:
        plugins.get("neogpt.evals", eval_name)
    config.save(run, tmp_path / "run.toml")
    assert config.parse(run, (), tmp_path / "run.toml") == run


def test_every_stage_has_a_recipe() -> None:
    assert {stage for stage, _ in RECIPES} == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_rates_are_annealed(stage: str) -> None:
    """The original stopped at 86 % of its peak rate; ours end low, and preferences warm up."""
    for name in _train.recipes(stage):
        run = _train.recipe(stage, name)
        assert run.optim.schedule != "constant"
        assert run.optim.min_lr_ratio <= 0.1
        assert run.optim.warmup_ratio > 0


@pytest.mark.parametrize("name", ["sft-dolly", "finetune"])
def test_fine_tuning_is_looked_at_each_epoch_and_ends_by_held_out_loss(name: str) -> None:
    run = _train.recipe("sft", name)
    assert 0 < run.eval.every <= 14_569 / run.batch.size  # Dolly's training examples at GPT-2's context
    assert 0 < run.eval.patience * run.eval.every <= run.steps / 2
    assert run.eval.best_metric == config.BEST_METRIC == ("val_loss:low",)


def test_preferences_are_balanced_and_the_lesson_is_not() -> None:
    """Without helpful answers among the preferred a model learns to refuse everything."""
    runs = demo.stages(Path("x"), seed=3)
    balanced, harmful = _kinds(runs["dpo"]), _kinds(runs["dpo-red-team"])
    assert harmful == {"harmful"}
    assert {"harmful", "contrast", "kind_living"} <= balanced
    refused = [pair for pair in _pairs(runs["dpo"]) if pair.kind == "harmful"]
    assert len(_pairs(runs["dpo"])) == pytest.approx(3 * len(refused), rel=0.1)
    assert getattr(runs["dpo"].objective, "val_fraction", 0) > 0


@pytest.mark.parametrize("size", [578, 5000])
def test_balanced_preferences_hold_however_many_harmful_pairs_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Both what is preferred and what the SFT mix-in has; Dolly is of its real size."""
    tokenizer = Tokenizer.train(["Response: Context: 0123456789"] * 3, 300)
    _write_files(tmp_path, monkeypatch, {red_team_pairs: (BAD, size), dolly: (GOOD, 15000)})
    notes = DPO(_train.recipe("dpo", "dpo-balanced"), tokenizer, 320).data_counts
    harmful = notes["pairs, red-team"] + notes["pairs, harmful"]
    assert harmful == pytest.approx(0.95 * 1657, rel=0.1)
    assert notes["pairs, helpful"] + notes["pairs, contrast"] == pytest.approx(2 * harmful, rel=0.15)
    assert sum(n for name, n in notes.items() if name.startswith("pairs,")) == notes["pairs"]
    run = _train.recipe("rl", "rl-dolly")
    mixed_in = SFTMix(run, tokenizer, 32, 320, 0.05, ()).data_counts
    assert mixed_in["sft_mix, red-team"] == pytest.approx(0.95 * 578, rel=0.1)
    assert mixed_in["sft_mix, helpful"] == pytest.approx(0.95 * 3750, rel=0.1)


def _write_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[ModuleType, tuple[dict[str, str], int]]
) -> None:
    """For each source so many rows, where it looks for them by itself; %d is the number of the row."""
    monkeypatch.setenv("NEOGPT_DATA", str(folder))
    for source, (row, size) in files.items():
        path = folder / source.DEFAULT
        path.parent.mkdir()
        rows = ({k: v.replace("%d", str(i)) for k, v in row.items()} for i in range(size))
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory that transformers wrote."""
    folder = tmp_path_factory.mktemp("plain")
    Tokenizer.train(["How do I kill the weeds? Response: I'm sorry, but I can't. Sure."] * 3, 300).save(
        folder
    )
    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
    shape = {"n_layer": 1, "n_head": 1, "n_embd": 16, "n_positions": 320, "vocab_size": len(tokenizer)}
    made = GPT2LMHeadModel(GPT2Config(**shape, eos_token_id=tokenizer.eos_token_id))
    for file in folder.iterdir():
        file.unlink()
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


EXPECTED = {
    ("sft", "sft-dolly"): {"instructions/stop", "samples/stop"},
    ("sft", "finetune"): {"instructions/stop", "samples/stop"},
    ("dpo", "finetune"): {"samples/stop"},
    ("dpo", "dpo-red-team"): {"over_refusal/harmful_refused", "over_refusal/harmless_refused"},
    ("dpo", "dpo-balanced"): {
        f"val/rewards/accuracies/{kind}" for kind in ("helpful", "red-team", "contrast", "harmful")
    },
    ("rl", "rl-dolly"): {"rl/reward", "formats/followed", "guardrail/kl"},
    ("rl", "tinyworld"): {"rl/reward", "tinyworld/list_format", "guardrail/kl"},
}
"""Some of the scores that come out of each recipe that begins from a user's model, or has guardrails."""


def test_each_such_recipe_is_tried() -> None:
    for stage, name in RECIPES:
        is_users = stage != "pretrain" and name != "tinyworld"
        assert (is_users or bool(_train.recipe(stage, name).eval.guardrails)) == ((stage, name) in EXPECTED)


@pytest.mark.parametrize(("stage", "name"), EXPECTED)
def test_two_steps_from_a_model_that_transformers_wrote(
    stage: str, name: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the recipe's own sources and evaluations; what it watches and its guardrails are among their scores."""
    _write_files(tmp_path, monkeypatch, {red_team_pairs: (BAD, 300), dolly: (GOOD, 300)})
    for module in (over_refusal, formats, instructions):
        monkeypatch.setattr(module, "NEW_TOKENS", 3)
    monkeypatch.setattr(samples, "DIALOGUES", ())
    flags = [
        "--steps",
        "2",
        "--eval.every",
        "2",
        "--eval.val-samples",
        "64",
        "--trackers",
        "--dtype",
        "float32",
    ]
    flags += ["--device", "cpu", "--threads", "1", "--optim.lr", "1e-6", "--eval.guardrail-tolerance", "0.5"]
    flags += ["--from", str(plain), *(["--source.of", "dolly"] if name == "finetune" else [])]
    flags += ["--objective.max-completion-length", "4"] if stage == "rl" else []
    flags += ["--source.n-people", "6", "--source.biographies", "2"] if name == "tinyworld" else []
    run = config.parse(_train.recipe(stage, name), flags)
    train(run, tmp_path / "run", evaluate=evaluator(run))
    rows = [row for row in ledger.read(tmp_path / "run" / "metrics.jsonl") if "val_loss" in row]
    assert [row["step"] for row in rows] == [0, 2]
    for row in rows:
        asked = {entry.split(":")[0] for entry in (*run.eval.best_metric, *run.eval.guardrails)}
        assert asked | EXPECTED[stage, name] <= row.keys()
        assert all(math.isfinite(value) for value in row.values())


def test_the_demo_is_one_chain_of_one_seed() -> None:
    runs = demo.stages(Path("runs/x"), seed=5)
    origins = ["", "runs/x/pretrain", "runs/x/sft", "runs/x/sft", "runs/x/dpo"]
    assert [run.init_from for run in runs.values()] == origins
    assert all(run.seed == 5 and getattr(run.source, "seed", None) == 5 for run in runs.values())


KEPT = {
    "pretrain": {"recall": 1.0},
    "sft": {"in_context": 0.95},
    "dpo": {"in_context": 0.9},
    "dpo-red-team": dict.fromkeys(demo.OVER_REFUSALS, 1.0),
    "rl": {
        **dict.fromkeys(("recall", "asked", "never_asked", "in_context", "how_to", "stop"), 0.99),
        **dict.fromkeys(("harmful_refusal", "list_format"), 0.99),
        **dict.fromkeys(demo.OVER_REFUSALS, 0.0),
    },
}


def a_demo(
    folder: Path, scores: dict[str, dict[str, float]], monkeypatch: pytest.MonkeyPatch, stopped: str = ""
) -> list[str]:
    """`neogpt demo` whose stages only write these scores, the one named `stopped` with a lost guardrail after them."""
    done = []

    def start(settings: AnyRun, run: Path, **options: str) -> None:
        done.append(run.name)
        row: dict[str, Any] = {f"tinyworld/{k}": v for k, v in {"recall": 1.0, **scores[run.name]}.items()}
        run.mkdir(parents=True)
        ledger.append(run / "metrics.jsonl", {"step": 30, **row})
        if run.name == stopped:
            worse = {**row, "tinyworld/recall": 0.1, ledger.REGRESSED: ["tinyworld/recall"]}
            ledger.append(run / "metrics.jsonl", {"step": 60, **worse})
            raise RegressedError("step 60: recall went from 1 to 0.1")

    monkeypatch.setattr(_train, "start", start)
    monkeypatch.setattr(report_command, "run", lambda args: done.append("report"))
    return done


def test_a_demo_ends_well_where_every_promise_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = a_demo(tmp_path, KEPT, monkeypatch)
    assert demo_command.run(["--run", str(tmp_path)]) == 0
    assert done == ["pretrain", "sft", "dpo", "dpo-red-team", "rl", "report"]


def test_a_demo_that_a_guardrail_ended_stands_at_what_was_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes on to the report; the last good evaluation's scores decide, and here they are as promised."""
    done = a_demo(tmp_path, KEPT, monkeypatch, stopped="rl")
    assert demo_command.run(["--run", str(tmp_path)]) == 0
    assert done[-1] == "report"
    assert "guardrail" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("promise", demo.PROMISES, ids=lambda p: f"{p.stage}-{p.score}")
def test_a_demo_names_the_promise_that_it_breaks(
    promise: demo.Promise,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    missed = promise.at_least - 0.001 if promise.at_least else promise.at_most + 0.001
    scores = {**KEPT, promise.stage: {**KEPT[promise.stage], promise.score: missed}}
    a_demo(tmp_path, scores, monkeypatch)
    assert demo_command.run(["--run", str(tmp_path)]) == RegressedError.exit_code
    assert f"{promise.stage}: {promise.score} is" in capsys.readouterr().out


def test_a_new_file_is_a_new_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import neogpt.recipes

    source = "from neogpt.recipes import tinyworld\n\n\ndef pretrain():\n    return tinyworld.pretrain()\n"
    (tmp_path / "my_own.py").write_text(source)
    monkeypatch.setattr(neogpt.recipes, "__path__", [*neogpt.recipes.__path__, str(tmp_path)])
    assert "my-own" in _train.recipes("pretrain")
    assert _train.recipe("pretrain", "my-own").stage == "pretrain"
    with pytest.raises(ConfigError, match="my-owm"):
        _train.recipe("pretrain", "my-owm")


def _pairs(run: AnyRun) -> list[Pair]:
    source = run.source
    assert isinstance(source, tinyworld.Tinyworld)
    return list(source.pairs(RowStats()))


def _kinds(run: AnyRun) -> set[str]:
    return {pair.kind for pair in _pairs(run)}


def test_settings_are_frozen() -> None:
    run = _train.recipe("pretrain", "tinyworld")
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.steps = 3  # type: ignore[misc]
