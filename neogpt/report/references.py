"""The original project's figures, for comparison: OpenAI's GPT-2 124M as it measured it, and its own run."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neogpt import evals
from neogpt.errors import DataError
from neogpt.evals import hellaswag
from neogpt.paths import local_data
from neogpt.report import measures
from neogpt.report.measures import Measure
from neogpt.report.runs import Stage

GPT2_124M_LOSS = 3.2924
"""Validation loss of OpenAI's GPT-2 124M on FineWeb-Edu, as the original NeoGPT and build-nanogpt state it."""
GPT2_124M_HELLASWAG = 0.2945
"""HellaSwag (acc_norm, build-nanogpt's style) of OpenAI's GPT-2 124M, from the same place."""
STYLE = "build-nanogpt"
"""The style of that figure, and a run's default."""
HELLASWAG, TASKS = "hellaswag/", 10_042
TOKENS_PER_STEP = 524_288
"""Of the original NeoGPT's run."""
FILE = "neogpt_pretrain_curve.csv"

Curve = tuple[list[float], list[float]]
"""Tokens and values."""
Original = dict[str, Curve]
"""The original NeoGPT's curves by kind: train_loss, val_loss, hellaswag_acc_norm."""


def _kind(config: Mapping[str, Any]) -> str:
    """The name of a run's data source; empty where none is written down."""
    source = config.get("source")
    return str(source.get("kind", "")) if isinstance(source, dict) else ""


def is_comparable(stage: Stage) -> bool:
    """True for a run on text (not tinyworld) with GPT-2's vocabulary: only there losses mean the same."""
    model = stage.config.get("model")
    vocabulary = model.get("vocab_size") if isinstance(model, dict) else None
    return vocabulary == 50257 and _kind(stage.config) not in ("", "tinyworld")


def is_comparable_hellaswag(stage: Stage) -> bool:
    """The same for HellaSwag: all its tasks, in the style of the original's figures."""
    limit, style = _hellaswag_settings(stage)
    return is_comparable(stage) and not limit and style == STYLE


def _hellaswag_settings(stage: Stage) -> tuple[int, str]:
    """How many of HellaSwag's tasks a run takes (0: all), and the style of their text."""
    found = stage.config.get("eval")
    names = found.get("names") if isinstance(found, dict) else None
    entry = evals.entry_of("hellaswag", names if isinstance(names, list) else [])
    _, config = evals.parse(entry or "hellaswag")
    assert isinstance(config, hellaswag.Config)
    return config.limit if config.limit < TASKS else 0, config.style


def hellaswag_style(stage: Stage) -> str:
    """Which tasks a run takes and in which style, where that is not as the references were measured."""
    limit, style = _hellaswag_settings(stage)
    if not limit and style == STYLE:
        return ""
    tasks = f"the first {limit:,} tasks" if limit else "all tasks"
    return f"{tasks}, {style}'s style; figures of other limits or styles do not compare"


def hellaswag_notes(stages: list[Stage]) -> list[str]:
    """A sentence for each stage whose HellaSwag was measured in a style of its own."""
    measured = [stage for stage in stages if any(key.startswith(HELLASWAG) for key in stage.score_keys)]
    styles = ((stage.label, hellaswag_style(stage)) for stage in measured)
    return [f"{label}: {style}." for label, style in styles if style]


def explanation(stages: list[Stage], measure: Measure) -> str:
    """What a measure means, for HellaSwag with GPT-2's figure where it compares, or how each was measured."""
    if not measure.pattern.startswith(HELLASWAG):
        return measure.explanation
    parts = [measure.explanation, *hellaswag_notes(stages)]
    measured = [stage for stage in stages if measure.pattern in stage.score_keys]
    if measure.pattern == "hellaswag/acc_norm" and all(map(is_comparable_hellaswag, measured)):
        parts.append(f"OpenAI's GPT-2 124M reached {measures.share(GPT2_124M_HELLASWAG)}.")
    return " ".join(parts)


def caption(with_original: bool, detail: str) -> str:
    """What stands under a picture that shows these figures."""
    names = "OpenAI's GPT-2 124M and original NeoGPT" if with_original else "OpenAI's GPT-2 124M"
    return f"{names}: the original project's reference figures{detail}."


def read(folder: Path | None = None) -> Original:
    """The curves in `folder`, by default NEOGPT_DATA/reference; none where that has no such file.

    Errors: DataError when a folder that is named has not the file, or the file is not as published.
    """
    data = local_data()
    place = folder or (data / "reference" if data else None)
    if place is None or (folder is None and not (place / FILE).is_file()):
        return {}
    try:
        with open(place / FILE, encoding="utf-8", newline="") as file:
            rows = [(row["kind"], float(row["step"]), float(row["value"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{place / FILE} cannot be read: {error!r}",
            "a table of the original's run: step,kind,value",
            code="report.bad_reference",
        ) from None
    by_kind: dict[str, dict[float, float]] = {}
    for kind, step, value in rows:  # it went back once: what came later counts
        by_kind.setdefault(kind, {})[step * TOKENS_PER_STEP] = value
    return {kind: (sorted(curve), [curve[x] for x in sorted(curve)]) for kind, curve in by_kind.items()}
