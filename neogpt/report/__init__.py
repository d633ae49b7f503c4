"""Reports: read-only views of the ledgers of one run, or of the stages of a model's life.

`write` makes report.html, report.md and loss.png; the same ledgers give the same bytes.
"""

from pathlib import Path
from typing import Any

from neogpt import atomic
from neogpt.errors import DataError
from neogpt.report import facts, html, markdown, png, references, runs
from neogpt.report.runs import Stage, read

__all__ = ["Stage", "read", "summary", "write"]


def write(
    folder: Path | str, out: Path | str | None = None, reference: Path | str | None = None
) -> list[Path]:
    """Write the report of a run, or of a folder of stage runs, into `out` (default: that folder).

    Returns the files written: report.html, report.md, and with matplotlib (`pip install 'neogpt[plot]'`)
    loss.png and, when HellaSwag was measured, hellaswag.png. `reference`: folder with the original NeoGPT's
    curves (default: NEOGPT_DATA/reference, where that is there). Errors: DataError when there is nothing to
    report or `out` cannot be written.
    """
    folder = Path(folder)
    target = Path(out) if out else folder
    stages, silent = runs.read(folder)
    title, notes = folder.resolve().name, [*facts.notes(stages), *silent]
    original = references.read(Path(reference) if reference else None)
    images = _images(stages, original)
    files = {
        "report.html": html.page(title, stages, notes, original).encode(),
        "report.md": markdown.page(title, stages, notes, list(images)).encode(),
        **images,
    }
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            atomic.write_bytes(target / name, data)
    except OSError as error:
        raise DataError(
            f"the report cannot be written to {target}: {error.strerror}",
            "a folder to write in",
            "--out DIR",
            code="report.not_written",
        ) from None
    return [target / name for name in files]


def _images(stages: list[Stage], original: references.Original) -> dict[str, bytes]:
    if not png.is_available():
        return {}
    drawn = {"loss.png": png.losses(stages, original), "hellaswag.png": png.hellaswag(stages, original)}
    return {name: data for name, data in drawn.items() if data is not None}


def summary(folder: Path | str) -> dict[str, Any]:
    """The facts of a report as plain values: verdict, stages with their scores, notes."""
    stages, silent = runs.read(Path(folder))
    return {
        "verdict": facts.verdict(stages),
        "stages": [_summary(stage) for stage in stages],
        "notes": [
            *facts.notes(stages),
            *silent,
            *(f"HellaSwag of {note}" for note in references.hellaswag_notes(stages)),
        ],
    }


def _summary(stage: Stage) -> dict[str, Any]:
    return {
        "run": str(stage.root),
        "label": stage.label,
        "stage": stage.kind,
        "recipe": stage.recipe,
        "finished": stage.is_finished,
        "step": stage.last_step,
        "steps": stage.planned_steps,
        "tokens": stage.tokens,
        "parameters": stage.parameters,
        "seconds": stage.seconds,
        "tokens_per_s": stage.tokens_per_s,
        "loss": stage.latest("loss"),
        "stands_at": min(stage.stands_at, stage.last_step),
        "val_loss": stage.standing("val_loss"),
        "val_bpb": stage.standing("val_bpb"),
        "scores": {key: stage.standing(key) for key in stage.score_keys},
    }
