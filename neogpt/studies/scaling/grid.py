"""A grid of training runs, sizes x tokens x seeds: which runs, with which settings, and what they found.

The runs of one size and seed form a chain: with the WSD schedule each goes on from the flat part of the one
before (see `branch.py`); with another schedule each begins from scratch.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neogpt import atomic, config, ledger, plugins
from neogpt.config import AnyRun, GPT2Config
from neogpt.errors import ConfigError, DataError
from neogpt.model import sizes
from neogpt.paths import RunDir

SPEC, TABLE = "grid.json", "points.csv"
_OWN = (
    *("steps", "tokens", "hours", "seed", "from", "save.every", "save.keep-every"),
    *("model.n-layer", "model.n-embd", "model.n-head"),
)
"""Settings that the grid gives each run. Warm-up and decay are the recipe's shares, made whole steps of each run."""
_FEWEST_STEPS = 20
_SAVES = 4
"""Checkpoints on the way to the end of the flat part, so that a kill costs a quarter of it at most."""


@dataclass(frozen=True)
class Size:
    """The shape of a model."""

    n_layer: int
    n_embd: int
    n_head: int

    @classmethod
    def parse(cls, text: str) -> "Size":
        """From LAYERSxWIDTH (heads of 64, or 32 where the width is below 256) or LAYERSxWIDTHxHEADS."""
        match = re.fullmatch(r"(\d+)x(\d+)(?:x(\d+))?", text)
        if not match:
            raise ConfigError(
                f"the size {text!r}",
                "LAYERSxWIDTH or LAYERSxWIDTHxHEADS",
                "--sizes 4x128 6x256",
                code="scaling.bad_grid",
            )
        n_layer, n_embd = int(match[1]), int(match[2])
        n_head = int(match[3]) if match[3] else max(1, n_embd // (64 if n_embd >= 256 else 32))
        GPT2Config(n_layer=n_layer, n_embd=n_embd, n_head=n_head)  # its errors
        return cls(n_layer, n_embd, n_head)

    def __str__(self) -> str:
        return f"{self.n_layer}x{self.n_embd}x{self.n_head}"


@dataclass(frozen=True)
class Spec:
    """What was asked for; `grid.json` in the grid's folder."""

    recipe: str
    sizes: tuple[str, ...]
    tokens: tuple[int, ...]
    seeds: tuple[int, ...] = (0,)
    settings: tuple[str, ...] = ()
    """Flags of `neogpt pretrain RECIPE` that all runs share."""

    def __post_init__(self) -> None:
        for name, values in (("sizes", self.sizes), ("tokens", self.tokens), ("seeds", self.seeds)):
            if not values or len(set(values)) < len(values):
                raise ConfigError(
                    f"--{name} {' '.join(map(str, values))}", "different values", code="scaling.bad_grid"
                )
        for flag in self.settings:
            name = flag.partition("=")[0].removeprefix("--").replace("_", "-")
            if flag.startswith("--") and name in _OWN:
                raise ConfigError(
                    f"--{name} is set by the grid for each run",
                    "settings that all runs share",
                    code="scaling.bad_grid",
                )

    @classmethod
    def read(cls, folder: Path) -> "Spec":
        """That of a grid on the disk. Errors: ConfigError (scaling.no_grid)."""
        try:
            values = json.loads((folder / SPEC).read_text())
            lists = {name: tuple(values[name]) for name in ("sizes", "tokens", "seeds", "settings")}
            return cls(str(values["recipe"]), **lists)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"{folder} holds no grid: {error}",
                f"a folder with {SPEC}",
                "neogpt study scaling grid laptop --folder DIR --sizes 2x64 4x128 --tokens 1000000 2000000",
                code="scaling.no_grid",
            ) from None

    def keep(self, folder: Path) -> None:
        """Write it down. A grid may grow by sizes, tokens and seeds; ConfigError (scaling.other_grid) else."""
        if (folder / SPEC).exists():
            before = Spec.read(folder)
            if (before.recipe, before.settings) != (self.recipe, self.settings):
                raise ConfigError(
                    f"the grid in {folder} has recipe {before.recipe} and settings "
                    f"{' '.join(before.settings) or 'none'}",
                    "the same recipe and settings",
                    "--folder with another folder",
                    code="scaling.other_grid",
                )
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_json(folder / SPEC, dataclasses.asdict(self))


@dataclass(frozen=True)
class Job:
    """One run of the grid."""

    chain: str
    """Runs of one size and seed: their losses are not independent of each other."""
    name: str
    """Its folder in the grid's."""
    steps: int
    flat: int
    """The step after which the rate falls, where a longer run can go on; 0: nowhere."""
    changes: dict[str, Any]
    """Settings in which it differs from the other runs of its chain, by dotted names."""
    flags: tuple[str, ...]


def chains(spec: Spec) -> list[list[Job]]:
    """The grid's runs by size and seed, each from the shortest to the longest.

    Errors: ConfigError (scaling.bad_grid) for horizons too short or too near each other, and the recipe's own.
    """
    return [_chain(spec, Size.parse(size), seed) for size in spec.sizes for seed in spec.seeds]


def base_run(spec: Spec) -> AnyRun:
    """The recipe's run with the grid's shared settings."""
    module = plugins.get("neogpt.recipes", spec.recipe)
    if not hasattr(module, "pretrain"):
        raise ConfigError(
            f"the recipe {spec.recipe} does not pretrain", "one that does", "laptop", code="scaling.bad_grid"
        )
    default: AnyRun = module.pretrain()
    return config.parse(default, spec.settings, prog=f"neogpt pretrain {spec.recipe}")


def _chain(spec: Spec, size: Size, seed: int) -> list[Job]:
    run = base_run(spec)
    per_step = run.batch.size * int(getattr(run.objective, "seq_len", 0))
    horizons = sorted(round(tokens / per_step) for tokens in spec.tokens)
    if horizons[0] < _FEWEST_STEPS or len(set(horizons)) < len(horizons):
        raise ConfigError(
            f"{min(spec.tokens):,} to {max(spec.tokens):,} tokens are {', '.join(map(str, horizons))} steps of "
            f"{per_step:,} tokens",
            f"different numbers of steps, {_FEWEST_STEPS} or more",
            f"--tokens {' '.join(str(100 * per_step * 2**i) for i in range(len(horizons)))}",
            code="scaling.bad_grid",
        )
    warmup_steps = max(1, round(run.optim.warmup_ratio * horizons[0]))
    return [_job(spec, run, size, seed, steps, warmup_steps) for steps in horizons]


def _job(spec: Spec, run: AnyRun, size: Size, seed: int, steps: int, warmup_steps: int) -> Job:
    chain = f"{size}-seed{seed}"
    changes: dict[str, Any] = {"steps": steps}
    flat = 0
    if can_branch(run):
        flat = _flat(run, steps, warmup_steps)
        # Shares that give these whole numbers of steps back (see optim/_schedule.py).
        changes["optim.warmup_ratio"] = warmup_steps / steps
        changes["optim.decay_ratio"] = (steps - flat) / (steps - warmup_steps)
        changes["save.every"] = flat // _SAVES
        changes["save.keep_every"] = flat
    shape_flags = (
        "--model.n-layer",
        size.n_layer,
        "--model.n-embd",
        size.n_embd,
        "--model.n-head",
        size.n_head,
    )
    own = [value for name, value in changes.items() for value in (f"--{name.replace('_', '-')}", repr(value))]
    flags = (*spec.settings, *map(str, shape_flags), "--seed", str(seed), *own)
    return Job(chain, f"{chain}/{steps:08d}", steps, flat, changes, flags)


def can_branch(run: AnyRun) -> bool:
    """Whether runs of several horizons are the same run up to the fall of the rate."""
    grows = float(getattr(run.objective, "seq_len_warmup", 0.0)) > 0
    return run.optim.schedule == "wsd" and 0 < run.optim.decay_ratio < 1 and not grows


def _flat(run: AnyRun, steps: int, warmup_steps: int) -> int:
    """The step after which the rate falls: the recipe's, or a few later or earlier so that saves come out even."""
    falling = max(1, round(run.optim.decay_ratio * (steps - warmup_steps)))
    return max(_SAVES, round((steps - falling) / _SAVES) * _SAVES)


def is_done(folder: Path, job: Job) -> bool:
    """Whether the run has its last held-out loss."""
    return _last_loss(RunDir(folder / job.name), job.steps) is not None


def table(folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """One row a finished run, in the columns that `points.read` takes, and more for the reader.

    Errors: DataError (scaling.too_few_points) where none is finished.
    """
    found = [_row(folder, job) for job in jobs if is_done(folder, job)]
    if not found:
        raise DataError(f"no run in {folder} is finished", "one or more", code="scaling.too_few_points")
    return found


def _row(folder: Path, job: Job) -> dict[str, Any]:
    files = RunDir(folder / job.name)
    values = config.read_toml(files.config)
    model = GPT2Config(**values["model"])
    total = sizes.n_params(model)
    rows = [row for row in ledger.read(files.metrics) if "tokens" in row]
    return {
        "run": job.chain,
        "n_params": total,
        "n_params_non_embedding": total - (model.vocab_size + model.n_positions) * model.n_embd,
        "tokens": rows[-1]["tokens"],
        "loss": _last_loss(files, job.steps),
        "n_layer": model.n_layer,
        "n_embd": model.n_embd,
        "seed": values["seed"],
        "steps": job.steps,
        "batch_tokens": values["batch"]["size"] * values["objective"]["seq_len"],
        "lr": values["optim"]["lr"],
    }


def _last_loss(files: RunDir, steps: int) -> float | None:
    """The held-out loss of the last step."""
    found = [
        row["val_loss"]
        for row in ledger.read(files.metrics)
        if row.get("step") == steps and "val_loss" in row
    ]
    return float(found[-1]) if found else None
