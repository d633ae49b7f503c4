"""Begin a longer run from the flat part of a shorter one, where both are the same run up to there.

With the WSD schedule (WSD; Hu et al. 2024, "MiniCPM", section 4) two runs that differ in their horizon alone do
the same until the shorter one's rate begins to fall: the order of samples is a pure function of (seed, step), and the
rate is flat. So the longer run takes up the shorter one's checkpoint, and ends with the bits that it would have had
from scratch. A grid of horizons costs one long run and the falls of the others.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neogpt import atomic, ledger
from neogpt.errors import CheckpointError
from neogpt.paths import RunDir

_TRAINER = "trainer.json"


def branch(source: RunDir, step: int, target: RunDir, changes: Mapping[str, Any]) -> None:
    """Give `target` the checkpoint of `source` at `step`, its settings changed as the longer run has them.

    changes: settings by their dotted names ("optim.warmup_ratio"). With them, `neogpt pretrain --run TARGET --resume
    auto` goes on from there. Errors: CheckpointError where that checkpoint is absent or damaged.
    """
    folder = source.checkpoint(step)
    if not folder.is_dir():
        raise CheckpointError(
            f"{source.root} has no checkpoint of step {step}, where a longer run would go on from it",
            "the checkpoint from before its learning rate fell",
            f"remove {source.root} and give the same command again: that run is trained anew",
            code="scaling.no_branch",
        )
    atomic.verify_manifest(folder, CheckpointError)
    target.root.mkdir(parents=True, exist_ok=True)
    with atomic.directory(target.checkpoint(step)) as temporary:
        for file in folder.iterdir():
            if file.name not in (atomic.MANIFEST, _TRAINER):
                shutil.copy2(file, temporary / file.name)
        _write_settings(folder / _TRAINER, temporary / _TRAINER, changes)
    shutil.copy2(source.metrics, target.metrics)
    ledger.cut_back(target.metrics, step)


def _write_settings(old: Path, new: Path, changes: Mapping[str, Any]) -> None:
    state = json.loads(old.read_text())
    for name, value in changes.items():
        *rooms, last = name.split(".")
        values = state["config"]
        for room in rooms:
            values = values[room]
        values[last] = value
    new.write_text(json.dumps(state, indent=2, sort_keys=True) + "\n")
