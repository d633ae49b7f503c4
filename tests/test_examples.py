"""The examples run, and what they show is what NeoGPT does."""

import runpy
from pathlib import Path

import pytest

import neogpt
from neogpt import ledger
from neogpt.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"
STEPS = 4


def test_the_minimal_loop_gives_the_losses_of_neogpt_pretrain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = (EXAMPLES / "minimal.py").read_text()
    assert len(source.splitlines()) <= 75
    losses = runpy.run_path(str(EXAMPLES / "minimal.py"))["main"](STEPS, "model")
    assert "held-out loss" in capsys.readouterr().out
    settings = f"--steps {STEPS} --model.n-positions 96 --objective.intra-document-mask False --dtype float32"
    settings += (
        " --optim.lr 5e-3 --optim.warmup-ratio 0.02 --optim.min-lr-ratio 0.1 --data.val-fraction 0.005"
    )
    settings += " --eval.every 0 --eval.names"
    assert main.main(["pretrain", "tinyworld", *settings.split(), "--run", "run"]) == 0
    rows = [row["loss"] for row in ledger.read(tmp_path / "run" / "metrics.jsonl") if "loss" in row]
    assert losses == pytest.approx(rows, abs=2e-4)
    assert losses[-1] < losses[0]
    assert neogpt.load("model").config.n_positions == 96
