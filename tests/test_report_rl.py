"""What a report shows of learning by reward: before and after, and what it was watched by."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import report_ledgers as made
import tomli_w
import torch

from neogpt import ledger, report
from neogpt.data.batch import Batch
from neogpt.objectives.batching import on_device
from neogpt.objectives.rl import grpo
from neogpt.objectives.rl.rollouts import metrics
from neogpt.report import facts, measures, plots


def emitted() -> list[str]:
    """The metrics that a step of learning by two rewards gives, by the code that gives them."""
    zeros_RT = torch.zeros(4, 3)
    scores = {"scores": np.zeros((2, 2, 3)), "distinct": np.ones((2, 2))}
    scores |= {"answer_tokens": np.ones(4), "stopped": np.ones(4)}
    tokens = np.zeros((4, 3), np.int64)
    batch = on_device(Batch(tokens, tokens, np.ones((4, 3), np.float32), scores), torch.device("cpu"))
    found = grpo.terms(zeros_RT, zeros_RT, zeros_RT, torch.zeros(4), batch.weights, 0.2, 0.2)
    return list(metrics(batch, batch, found, zeros_RT, ("format", "finished")))


def write_rl(root: Path, parent: Path) -> Path:
    """A run of 40 steps whose reward rises from 0.4 to 1.2."""
    root.mkdir(parents=True)
    values = {
        "recipe": "tinyworld",
        "stage": "rl",
        "steps": 40,
        "init_from": str(parent),
        "model": made.SHAPE,
    }
    (root / "config.toml").write_text(tomli_w.dumps(values))
    names = emitted()
    for step in range(1, 41):
        part = step / 40
        row: dict[str, Any] = {
            "step": step,
            "tokens": 4000 * step,
            "loss": 0.01,
            "loss/rl": 0.0,
            "loss/kl": 0.02,
        }
        row |= dict.fromkeys(names, 0.3 * part)
        row |= {"reward": 0.4 + 0.8 * part, "rewards/format": part, "rewards/finished": 1.0}
        row |= {"entropy": 0.5 - 0.1 * part, "answer_tokens": 20 + 8 * part, "lr": 1e-3, "grad_norm": 0.3}
        ledger.append(root / "metrics.jsonl", row)
        if step == 40:
            scores = {"tinyworld/list_format": 0.96, "tinyworld/harmful_refusal": 1.0, "rl/reward": 1.2}
            scores |= {"guardrail/kl": 0.01, "guardrail/distinct_2": 0.35, "rl/repetition": 0.97}
            ledger.append(root / "metrics.jsonl", {"step": 40, "val_loss": 0.3, **scores})
    ledger.append(root / "events.jsonl", {"time": made.START + 900, "event": "start", "steps": 40})
    ledger.append(root / "events.jsonl", {"time": made.START + 950, "event": "end", "step": 40})
    return root


def test_the_curves_that_it_was_watched_by(tmp_path: Path) -> None:
    made.write_demo(tmp_path)
    write_rl(tmp_path / "rl", tmp_path / "dpo")
    stages, _ = report.runs.read(tmp_path)
    assert [stage.label for stage in facts.life(stages)] == ["Base", "SFT", "DPO", "RL"]
    found = {plot.heading.removeprefix("RL: "): plot for plot in plots.rl(stages)}
    shown = {name.replace("_", " ") for name in emitted() if not name.startswith("rewards/")}
    assert found.keys() == shown - {"reward std"} | {"spread of rewards"}
    for heading in ("reward", "spread of rewards"):
        labels = [line.label for line in found[heading].lines if line.label]
        assert [label.rsplit(" ", 1)[0] for label in labels] == ["reward", "format", "finished"]
    assert found["reward"].lines[1].ys[-1] != found["spread of rewards"].lines[1].ys[-1]
    assert plots.rl(stages[:3]) == []


def test_before_and_after_stand_side_by_side(tmp_path: Path) -> None:
    made.write_demo(tmp_path)
    write_rl(tmp_path / "rl", tmp_path / "dpo")
    report.write(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Reinforcement learning" in page
    text = (tmp_path / "report.md").read_text()
    line = next(line for line in text.split("\n") if line.startswith("| Lists well formed ↑"))
    assert line.split("|")[4].strip().startswith("97.0%")
    assert "96.0%" in line.split("|")[5] + line.split("|")[6]
    assert "writes 96% of lists in the form asked for" in text
    assert json.dumps(report.summary(tmp_path))


def test_measures_of_rewards_and_guardrails() -> None:
    assert measures.measure("rl/format").group == measures.REWARDED
    assert measures.measure("guardrail/stop").group == measures.GUARDRAILS
    assert measures.measure("rl/my_own").label == "My own"
    assert measures.measure("guardrail/distinct_2").group == measures.GUARDRAILS
    assert measures.measure("guardrail/kl").better == "lower"
