"""Reading what runs left on disk: stages in the order in which one grew from the other."""

import json
import math
import shlex
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from neogpt import config, ledger
from neogpt.errors import DataError
from neogpt.ledger import Row
from neogpt.paths import RunDir

KINDS = {"pretrain": "Base", "sft": "SFT", "dpo": "DPO", "grpo": "RL", "rl": "RL"}
"""Objectives in the order of a model's life, by the name that a reader knows the result by."""
_SUMS = ("rewards", "logps", "logits", "val")


@dataclass(frozen=True)
class Stage:
    """One training run, as its ledgers tell it. Nothing here is computed from anything else."""

    root: Path
    config: dict[str, Any]
    metrics: list[Row]
    events: list[Row]
    samples: list[Row]
    label: str = ""
    is_lesson: bool = False
    """It stands beside another run of its kind to show what goes wrong (red-team pairs alone)."""

    @property
    def name(self) -> str:
        return self.root.resolve().name

    @property
    def kind(self) -> str:
        """The objective: as the config says, else as the folder is named."""
        known = [kind for kind in KINDS if self.name.startswith(kind)]
        return str(self.config.get("stage") or (known or ["run"])[0])

    @property
    def recipe(self) -> str:
        return str(self.config.get("recipe", ""))

    @cached_property
    def start(self) -> Row:
        """The first start event (empty when there is none)."""
        return next((row for row in self.events if row.get("event") in ("start", "resume")), {})

    @property
    def last_step(self) -> int:
        return max((int(row["step"]) for row in self.metrics if is_number(row.get("step"))), default=0)

    @property
    def planned_steps(self) -> int:
        """Steps the run is meant to take; 0 when the config does not say."""
        return int(self.config.get("steps") or 0)

    @property
    def is_finished(self) -> bool:
        ended = bool(self.events) and self.events[-1].get("event") == "end"
        return ended or 0 < self.planned_steps <= self.last_step

    @property
    def tokens(self) -> int | None:
        """Tokens trained on until the last logged step."""
        _, values = self.series("tokens")
        return int(values[-1]) if values else None

    @property
    def parameters(self) -> int | None:
        """Parameters of the model: as the start event says, else counted from the shape."""
        stated = self.start.get("parameters")
        if is_number(stated):
            return int(stated)
        shape = self._shape()
        return count_parameters(**shape) if shape else None

    def _shape(self) -> dict[str, int]:
        """The shape of the newest checkpoint, else of the config: n_layer, n_embd, n_positions, vocab_size."""
        for folder in sorted(RunDir(self.root).checkpoints.glob("step-*"), reverse=True):
            try:
                if shape := _shape_in(json.loads((folder / "config.json").read_text())):
                    return shape
            except (OSError, ValueError):
                continue
        return _shape_in(self.config.get("model"))

    @property
    def seconds(self) -> float | None:
        """Wall time spent in this run over all its sessions; None without time stamps."""
        return busy_seconds(self.events)

    @property
    def tokens_per_s(self) -> float | None:
        """Median speed of the progress events."""
        speeds = sorted(row["tokens_per_s"] for row in self.events if is_number(row.get("tokens_per_s")))
        return float(speeds[len(speeds) // 2]) if speeds else None

    @property
    def commands(self) -> list[str]:
        """What was typed, each different command once, oldest first."""
        starts = (row.get("command") for row in self.events if row.get("event") in ("start", "resume"))
        texts = (shlex.join(map(str, c)) if isinstance(c, list) else str(c) for c in starts if c)
        return list(dict.fromkeys(texts))

    def series(self, key: str) -> tuple[list[float], list[float]]:
        """Steps (ascending) and finite values of `key`; of rows for the same step the last one counts."""
        points = {
            float(row["step"]): float(row[key])
            for row in self.metrics
            if is_number(row.get(key)) and is_number(row.get("step"))
        }
        return sorted(points), [points[step] for step in sorted(points)]

    def latest(self, key: str) -> float | None:
        """The newest finite value of `key`."""
        _, values = self.series(key)
        return values[-1] if values else None

    @cached_property
    def score_keys(self) -> list[str]:
        """Names `<eval>/<metric>` of all that evals measured, in the order of the ledger."""
        keys = {key: None for row in self.metrics for key, value in row.items() if is_number(value)}
        return [key for key in keys if "/" in key and key.split("/")[0].split("_")[0] not in _SUMS]


def is_number(value: object) -> bool:
    """True for a finite number (not for true, false, NaN or infinity)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def count_parameters(n_layer: int, n_embd: int, n_positions: int, vocab_size: int) -> int:
    """Parameters of a GPT-2 whose head is tied to its embedding."""
    block = 12 * n_embd**2 + 13 * n_embd
    return (vocab_size + n_positions) * n_embd + n_layer * block + 2 * n_embd


def _shape_in(values: object) -> dict[str, int]:
    names = ("n_layer", "n_embd", "n_positions", "vocab_size")
    if not isinstance(values, dict) or not all(is_number(values.get(name)) for name in names):
        return {}
    return {name: int(values[name]) for name in names}


def busy_seconds(events: list[Row]) -> float | None:
    """Seconds from each start to the last event before the next start, summed: waiting between is not counted.

    A resume that directly follows its own start event belongs to the same session.
    """
    total, begun, previous = 0.0, None, {}
    for row in (row for row in events if is_number(row.get("time"))):
        starts = row.get("event") == "start" or (
            row.get("event") == "resume" and previous.get("event") != "start"
        )
        if starts or begun is None:
            total += (previous["time"] - begun) if begun is not None else 0.0
            begun = row["time"]
        previous = row
    return None if begun is None else total + previous["time"] - begun


def read(folder: Path) -> tuple[list[Stage], list[str]]:
    """The stages in `folder` (one run, or a folder of runs) in order, and notes on what was left out.

    Errors: DataError when there is no run, or none with a row in its ledger.
    """
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}",
            "a run directory, or a folder of them",
            "neogpt demo, then neogpt report runs/demo",
        )
    roots = [folder] if _is_run(folder) else sorted(path for path in folder.iterdir() if _is_run(path))
    if not roots:
        raise DataError(
            f"{folder} holds no run",
            "config.toml and metrics.jsonl in it, or in the folders inside it",
            "neogpt pretrain tinyworld --run runs/first, then neogpt report runs/first",
        )
    stages = [_read_stage(root) for root in roots]
    told = [stage for stage in stages if any(is_number(row.get("step")) for row in stage.metrics)]
    if not told:
        raise DataError(
            f"{folder} has nothing to report yet: its ledger has no rows",
            f"at least one logged step in {RunDir(roots[0]).metrics.name}",
            f"wait for the first step, or go on with it by --resume auto --run {roots[0]}",
        )
    silent = [f"{stage.name}: its ledger has no rows yet." for stage in stages if stage not in told]
    return _named(_ordered(told)), silent


def _is_run(path: Path) -> bool:
    run = RunDir(path)
    return path.is_dir() and any(file.is_file() for file in (run.config, run.metrics, run.events))


def _read_stage(root: Path) -> Stage:
    run = RunDir(root)
    values = config.read_toml(run.config) if run.config.is_file() else {}
    samples = ledger.read(root / "samples.jsonl")
    return Stage(root, values, ledger.read(run.metrics), ledger.read(run.events), samples)


def _ordered(stages: list[Stage]) -> list[Stage]:
    """Parents before children; among equals by kind, and what is shown as a lesson last."""
    kinds = list(KINDS)

    def rank(stage: Stage) -> int:
        return kinds.index(stage.kind) if stage.kind in kinds else len(kinds)

    def depth(stage: Stage, seen: tuple[str, ...] = ()) -> int:
        parent = parent_of(stage, stages)
        if parent is None or stage.name in seen:
            return rank(stage)
        return 1 + depth(parent, (*seen, stage.name))

    stages = [replace(stage, is_lesson=_is_lesson(stage, stages)) for stage in stages]
    return sorted(stages, key=lambda s: (depth(s), rank(s), s.is_lesson, s.start.get("time", 0), s.name))


def parent_of(stage: Stage, stages: list[Stage]) -> Stage | None:
    """The stage that `stage` started from: the folder that init_from names (or lies in), else by its name."""
    source = stage.config.get("init_from")
    if not source:
        return None
    others = [other for other in stages if other is not stage and other.root != stage.root]
    for other in others:
        if Path(source).resolve().is_relative_to(other.root.resolve()):
            return other
    parts = Path(source).parts
    run = parts[parts.index("checkpoints") - 1] if "checkpoints" in parts[1:] else (parts or ("",))[-1]
    return next((other for other in others if other.name == run), None)


def _is_lesson(stage: Stage, stages: list[Stage]) -> bool:
    def red_team(s: Stage) -> bool:
        return "red-team" in f"{s.recipe} {s.name}".replace("_", "-")

    return red_team(stage) and any(other.kind == stage.kind and not red_team(other) for other in stages)


def _named(stages: list[Stage]) -> list[Stage]:
    return [replace(stage, label=_label(stage, stages)) for stage in stages]


def _label(stage: Stage, stages: list[Stage]) -> str:
    base = KINDS.get(stage.kind, stage.kind)
    if stage.is_lesson:
        return f"{base}, red-team only"
    if sum(other.kind == stage.kind and not other.is_lesson for other in stages) == 1:
        return base
    rest = stage.name.removeprefix(stage.kind).strip("-_ ").replace("-", " ").replace("_", " ")
    return f"{base} {rest}".strip()
