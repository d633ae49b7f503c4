"""Reading what runs left on disk: stages in the order in which one grew from the other."""

import math
import shlex
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

from neogpt import config, ledger
from neogpt.errors import DataError
from neogpt.ledger import Row
from neogpt.paths import RunDir

KINDS = {"pretrain": "Base", "sft": "SFT", "dpo": "DPO", "grpo": "RL", "rl": "RL"}
"""Objectives in the order of a model's life, by the name that a reader knows the result by."""
_LARGEST = 1e300


@dataclass(frozen=True)
class Stage:
    """One training run, as its ledgers tell it. Nothing here is computed from anything else."""

    root: Path
    config: dict[str, Any]
    metrics: list[Row]
    events: list[Row]
    samples: list[Row]
    label: str = ""
    parent: str = ""
    """Name of the stage that it started from, when that is among those read."""
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
    def started(self) -> float | None:
        """When it began, in Unix seconds."""
        return time if is_number(time := self.start.get("time")) else None

    @property
    def last_step(self) -> int:
        return int(max(self._columns.get("step", {0.0: 0.0})))

    @property
    def planned_steps(self) -> int:
        """Steps the run is meant to take; 0 when neither config nor start event says."""
        stated = (self.config.get("steps"), self.start.get("steps"))
        return next((int(steps) for steps in stated if is_number(steps) and steps > 0), 0)

    @property
    def is_finished(self) -> bool:
        ended = any(row.get("event") == "end" for row in self.events)
        return ended or 0 < self.planned_steps <= self.last_step

    @property
    def tokens(self) -> int | None:
        """Tokens trained on until the last logged step."""
        _, values = self.series("tokens")
        return int(values[-1]) if values else None

    @property
    def parameters(self) -> int | None:
        """Parameters of the model: as the start event says, else counted from the shape."""
        if is_number(stated := self.start.get("params")):
            return int(stated)
        shape = _shape_in(self.config.get("model"))
        return count_parameters(**shape) if shape else None

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

    @cached_property
    def _columns(self) -> dict[str, dict[float, float]]:
        """Every number of the ledger by key and step; of rows for the same step the last one counts."""
        columns: dict[str, dict[float, float]] = {}
        for row in (row for row in self.metrics if is_number(row.get("step"))):
            for key, value in row.items():
                if is_number(value):
                    columns.setdefault(key, {})[float(row["step"])] = float(value)
        return {key: dict(sorted(column.items())) for key, column in columns.items()}

    def series(self, key: str) -> tuple[list[float], list[float]]:
        """Steps (ascending) and finite values of `key`."""
        column = self._columns.get(key, {})
        return list(column), list(column.values())

    @property
    def keys(self) -> list[str]:
        """Names of all that the ledger has numbers for."""
        return list(self._columns)

    def latest(self, key: str) -> float | None:
        """The newest finite value of `key`."""
        _, values = self.series(key)
        return values[-1] if values else None

    @cached_property
    def stands_at(self) -> float:
        """The step whose model the run stands for: the last at which all guardrails held, where one ended the run; with
        `--eval.patience` its best evaluation; else inf."""
        good = ledger.last_good_step(self.metrics)
        if good is not None:
            return good
        settings = self.config.get("eval")
        settings = settings if isinstance(settings, dict) else {}
        best_metric = settings.get("best_metric", config.BEST_METRIC)
        found = {step: score for step, score in ledger.totals(self.metrics, best_metric).items() if step}
        return max(found, key=found.__getitem__) if settings.get("patience") and found else math.inf

    def standing(self, key: str) -> float | None:
        """The newest finite value of `key` up to the step that the run stands for."""
        steps, values = self.series(key)
        return next((v for s, v in zip(steps[::-1], values[::-1], strict=True) if s <= self.stands_at), None)

    @cached_property
    def score_keys(self) -> list[str]:
        """Names `<eval>/<metric>` of all that evals measured, in the order of the ledger."""
        rows = (row for row in self.metrics if "loss" not in row)
        keys = {key: None for row in rows for key, value in row.items() if is_number(value)}
        return [key for key in keys if "/" in key and not key.startswith("val/")]

    def own(self, key: str) -> str:
        """`key` (loss or val_loss) for the stage's own loss term where the ledger has it apart, else the whole."""
        part = f"{'val/' if key == 'val_loss' else ''}loss/{self.kind}"
        return part if part in self._columns else key


def is_number(value: object) -> TypeGuard[float]:
    """True for a number that a float can hold (not for true, false, NaN or infinity)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < _LARGEST and not math.isnan(value)


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
    """Seconds from each start or resume to the last event before the next one, summed; None without times."""
    sessions: list[list[float]] = []
    for row in (row for row in events if is_number(row.get("time"))):
        if row.get("event") in ("start", "resume") or not sessions:
            sessions.append([])
        sessions[-1].append(row["time"])
    return sum(max(times) - min(times) for times in sessions) if sessions else None


def read(folder: Path) -> tuple[list[Stage], list[str]]:
    """The stages in `folder` (one run, or a folder of runs) in order, and notes on what was left out.

    Errors: DataError when there is no run, or none with a row in its ledger.
    """
    roots = _roots(folder)
    stages = [_read_stage(root) for root in roots]
    told = [stage for stage in stages if stage.series("step")[0]]
    if not told:
        raise DataError(
            f"{folder} has nothing to report yet: its ledger has no rows",
            f"at least one logged step in {RunDir(roots[0]).metrics.name}",
            f"wait for the first step, or go on with it by --resume auto --run {roots[0]}",
            code="report.nothing_yet",
        )
    silent = [f"{stage.name}: its ledger has no rows yet." for stage in stages if stage not in told]
    return _named(_ordered(told)), silent


def _roots(folder: Path) -> list[Path]:
    """The run directories that `folder` is, or holds."""
    if not folder.is_dir():
        wanted = "a run directory, or a folder of them"
        raise DataError(
            f"there is no folder {folder}",
            wanted,
            "neogpt demo, then neogpt report runs/demo",
            code="report.no_such_folder",
        )
    roots = [folder] if _is_run(folder) else [path for path in sorted(folder.iterdir()) if _is_run(path)]
    if roots:
        return roots
    deeper = sorted({path.parent for path in folder.glob("*/*") if _is_run(path)})
    raise DataError(
        f"{folder} holds no run",
        "config.toml and metrics.jsonl in it, or in the folders inside it",
        " or ".join(f"neogpt report {path}" for path in deeper[:3]) or "neogpt demo",
        code="report.no_run",
    )


def _is_run(path: Path) -> bool:
    run = RunDir(path)
    return path.is_dir() and any(file.is_file() for file in (run.config, run.metrics, run.events))


def _read_stage(root: Path) -> Stage:
    run = RunDir(root)
    values = config.read_toml(run.config) if run.config.is_file() else {}
    samples = ledger.read(run.samples)
    return Stage(root, values, ledger.read(run.metrics), ledger.read(run.events), samples)


def _ordered(stages: list[Stage]) -> list[Stage]:
    """Parents before children; among equals by kind, and what is shown as a lesson last."""
    by_name = {stage.name: stage for stage in stages}
    linked = [
        replace(stage, parent=_parent(stage, stages), is_lesson=_is_lesson(stage, stages)) for stage in stages
    ]
    parents = {stage.name: stage.parent for stage in linked}

    def depth(name: str, seen: tuple[str, ...] = ()) -> int:
        if not parents[name] or name in seen:
            return _rank(by_name[name])
        return 1 + depth(parents[name], (*seen, name))

    return sorted(linked, key=lambda s: (depth(s.name), _rank(s), s.is_lesson, s.started or 0.0, s.name))


def _rank(stage: Stage) -> int:
    kinds = list(KINDS)
    return kinds.index(stage.kind) if stage.kind in kinds else len(kinds)


def _parent(stage: Stage, stages: list[Stage]) -> str:
    """The stage that `stage` started from: the folder that init_from names (or lies in), else by its name."""
    source = Path(str(stage.config.get("init_from") or ""))
    others = [other for other in stages if other.root != stage.root]
    if not source.parts:
        return ""
    for other in others:
        if source.resolve().is_relative_to(other.root.resolve()):
            return other.name
    parts = source.parts
    run = parts[parts.index("checkpoints") - 1] if "checkpoints" in parts[1:] else parts[-1]
    return run if run in [other.name for other in others] else ""


def _is_lesson(stage: Stage, stages: list[Stage]) -> bool:
    """True for preferences learnt from red-team pairs alone when a run with helpful pairs stands beside it."""

    def red_team(s: Stage) -> bool:
        source = s.config.get("source")
        pairs = source.get("preferences", "") if isinstance(source, dict) else ""
        return "red-team" in f"{s.recipe} {s.name} {pairs}".replace("_", "-")

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
