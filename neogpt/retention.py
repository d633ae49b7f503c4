"""The checkpoints of a run: which there are, which are whole, which is the best, which stay, and the room they need."""

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from neogpt import atomic, ledger
from neogpt.config import BEST_METRIC, SaveConfig, read_toml
from neogpt.errors import CheckpointError
from neogpt.paths import RunDir

_STEP = re.compile(r"step-(\d{8,})")


def kept_steps(found: Iterable[int], best: int | None, config: SaveConfig) -> list[int]:
    """Of the steps `found`: the last few, each at a multiple of `keep_every`, and the best."""
    ordered = sorted(found)
    last = ordered[-max(1, config.keep_last) :]
    every = [step for step in ordered if config.keep_every and step % config.keep_every == 0]
    return sorted({*last, *every, *([best] if best is not None else [])})


def checkpoints_to_come(found: Iterable[int], config: SaveConfig, step: int, steps: int) -> int:
    """How many more checkpoints than those of the steps `found` will lie on the disk at once, at the most.

    A new one is written before old ones go; the oldest is taken for the best, which stays.
    """
    present = sorted(found)
    now = most = len(present)
    later = (
        range(step - step % config.every + config.every, steps, config.every) if config.every else range(0)
    )
    for save in [*later, *([steps] if steps > step else [])]:
        present = sorted({*present, save})
        most = max(most, len(present))
        present = kept_steps(present, present[0] if config.keep_best else None, config)
    return most - now


def warning(free_bytes: int, one_bytes: int, more: int) -> str:
    """What to say when `more` checkpoints of `one_bytes` each do not fit; empty when they do."""
    if free_bytes >= more * one_bytes:
        return ""
    unit, size = ("GB", 1e9) if more * one_bytes > 1e9 else ("MB", 1e6)
    need, free = more * one_bytes / size, free_bytes / size
    return (
        f"the disk has {free:.1f} {unit} left, and the saves to come need about {need:.1f} {unit} "
        f"({more} checkpoints more than now): free some space, or keep fewer (--save.keep-last, --save.keep-every)"
    )


def steps(run: RunDir) -> list[int]:
    """The steps that have a checkpoint folder, lowest first (by number, never by name)."""
    found = (step_of(path) for path in run.checkpoints.glob("step-*"))
    return sorted(step for step in found if step is not None)


def newest(
    run: RunDir, note: Callable[[str], None] = lambda line: None, unread: Collection[str] = ()
) -> Path | None:
    """The newest checkpoint that verifies, or None where there is none at all.

    Each folder that is passed over is told to `note`; `unread`: see `atomic.verify_manifest`.
    CheckpointError when folders exist and none verifies.
    """
    found = steps(run)
    skipped = []
    for step in reversed(found):
        folder = run.checkpoint(step)
        try:
            atomic.verify_manifest(folder, CheckpointError, unread=unread)
            return folder
        except CheckpointError as error:
            skipped.append(f"skipped {folder.name}: {error.what}")
            note(skipped[-1])
    if found:
        reasons = "".join(f"\n    {line}" for line in skipped[:5])
        raise CheckpointError(
            f"none of the {len(found)} checkpoints in {run.checkpoints} is whole:{reasons}",
            "one whose files are as its manifest says",
            "a copy of one, or a new run with another --run",
            code="checkpoint.none_whole",
        )
    return None


def step_of(folder: Path) -> int | None:
    """The step in a checkpoint folder's name; None when it is no such name."""
    match = _STEP.fullmatch(folder.name)
    return int(match[1]) if match else None


def best(run: RunDir, found: list[int]) -> int | None:
    """The saved step with the best evaluation by the run's `--eval.best-metric`, the first of equal ones."""
    best_metric = eval_settings(run).get("best_metric", BEST_METRIC)
    totals = ledger.totals(ledger.read(run.metrics), best_metric)
    scores = {step: score for step, score in totals.items() if step in found}
    return max(scores, key=lambda step: scores[step]) if scores else None


def good(run: RunDir, found: list[int]) -> int | None:
    """The newest saved step whose evaluation held all guardrails; None where the run has none (`--eval.guardrails`)."""
    if not eval_settings(run).get("guardrails"):
        return None
    rows = [row for row in ledger.read(run.metrics) if "grad_norm" not in row]
    return max(
        (row["step"] for row in rows if row["step"] in found and not row.get(ledger.REGRESSED)), default=None
    )


def eval_settings(run: RunDir) -> dict[str, Any]:
    """The section `eval` of a run's settings; empty where there are none."""
    return dict(read_toml(run.config).get("eval", {})) if run.config.is_file() else {}
