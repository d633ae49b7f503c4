"""Which curves a report shows, as data for either kind of drawing (SVG in the page, PNG beside it)."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from neogpt.report import captions, curves, facts, measures, references, svg
from neogpt.report.references import Original
from neogpt.report.runs import KINDS, Stage
from neogpt.report.svg import Axis, Line, Style

LOG_FROM = 300
"""A pretraining curve of at least this many steps gets a logarithmic step axis: most happens early."""
SHOWN = 100
"""On a logarithmic axis of tokens, the picture begins after this part of the run: what came before is steep."""
COLORS = {"pretrain": "base", "sft": "sft", "dpo": "dpo", "grpo": "rl", "rl": "rl"}


@dataclass(frozen=True)
class Plot:
    """One chart: its heading, its curves and axis, and what it shows in words under a topic."""

    heading: str
    lines: list[Line]
    axis: Axis
    topic: str = ""
    explanation: str = ""
    caption: str = ""
    form: Callable[[float], str] = svg.plain


def color(stage: Stage) -> str:
    """The stage's color, by name."""
    return "lesson" if stage.is_lesson else COLORS.get(stage.kind, "other")


def losses(stages: list[Stage], original: Original | None = None) -> list[Plot]:
    """Training loss (as logged, and its trend) and validation loss of each stage that has any.

    Where a loss has several terms, the stage's own one is drawn. Pretraining on text stands beside OpenAI's
    GPT-2 124M and the original NeoGPT's run, by tokens.
    """
    found = []
    for stage in stages:
        log = stage.kind == "pretrain" and stage.last_step >= LOG_FROM
        lines = _trend(stage, stage.own("loss"), color(stage), "training", early=log)
        lines += _held_out(stage, stage.own("val_loss"), "validation", first=1 if log else 0)
        if lines:
            plot = Plot(
                stage.label,
                lines,
                Axis("step (logarithmic)" if log else "step", log=log),
                KINDS.get(stage.kind, stage.kind),
                captions.LOSS_LINES.get(stage.kind, "Lower is better."),
            )
            is_compared = stage.kind == "pretrain" and references.is_comparable(stage) and stage.tokens
            found.append(_compared_losses(stage, plot, original or {}) if is_compared else plot)
    return found


def _compared_losses(stage: Stage, plot: Plot, original: Original) -> Plot:
    """The same losses over tokens, which another run's are comparable by, with the references beside them."""
    high = float(stage.tokens or 0)
    low = max(_tokens(stage, [1.0])[0], high / SHOWN)
    lines = [line for old in plot.lines if (line := _by_tokens(stage, old, low, high))]
    for kind in ("val_loss", "train_loss"):  # the original's first validation comes after 131M tokens
        xs, ys = _between(*original.get(kind, ([], [])), low, high)
        if len(xs) > 1:
            lines.append(Line(xs, ys, "dpo", f"original NeoGPT {ys[-1]:.4f}", "thin"))
            break
    gpt2 = f"GPT-2 124M {references.GPT2_124M_LOSS}"
    lines.append(Line([low, high], [references.GPT2_124M_LOSS] * 2, "rl", gpt2, "dash"))
    axis = Axis("tokens (logarithmic)", _token_marks(low, high, log=True), log=True, ends=(low, high))
    caption = references.caption(_has_original(lines), ", on FineWeb-Edu")
    return replace(plot, lines=lines, axis=axis, caption=caption, explanation=f"{plot.explanation} {caption}")


def _has_original(lines: Sequence[Line]) -> bool:
    return any(line.label.startswith("original") for line in lines)


def _by_tokens(stage: Stage, line: Line, low: float = 0.0, high: float = math.inf) -> Line | None:
    """A line over steps as one over tokens, those between `low` and `high`; None when nothing is left."""
    xs, ys = _between(_tokens(stage, line.xs), line.ys, low, high)
    return replace(line, xs=xs, ys=ys) if xs else None


def _tokens(stage: Stage, steps: Sequence[float]) -> list[float]:
    """Tokens trained on at these steps."""
    known, values = stage.series("tokens")
    return [float(x) for x in np.interp(steps, [0.0, *known], [0.0, *values])]


def _between(xs: Sequence[float], ys: Sequence[float], low: float, high: float) -> references.Curve:
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if low <= x <= high]
    return [x for x, _ in points], [y for _, y in points]


def _token_marks(low: float, high: float, log: bool = False) -> list[tuple[float, str]]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high))) if log else ()
    fine = [m * 10.0**p for p in powers for m in (1, 2, 5)] + [10.0**p * 10 for p in powers[-1:]]
    marks = [mark for mark in fine if low <= mark <= high] if log else curves.ticks(low, high)
    return [(mark, _short(mark)) for mark in marks or [high]]


def _short(tokens: float) -> str:
    """A count on an axis: 500M, 1.5B."""
    size, unit = next(((s, u) for s, u in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if tokens >= s), (1.0, ""))
    return f"{tokens / size:.3g}{unit}"


def _trend(
    stage: Stage,
    key: str,
    color: str,
    name: str,
    style: Style = "line",
    early: bool = False,
    form: Callable[[float], str] = measures.number,
) -> list[Line]:
    """A series as logged (faint) and its trend, labeled with the trend's end."""
    steps, values = stage.series(key)
    if not values:
        return []
    trend = curves.smooth(values, early=early).tolist()
    noise = Line(steps, values, color, style="faint", noisy=True)
    return [noise, Line(steps, trend, color, f"{name} {form(trend[-1])}", style)]


def _held_out(
    stage: Stage, key: str, name: str, first: int = 0, form: Callable[[float], str] = measures.number
) -> list[Line]:
    """A series measured now and then, from step `first`, as dots."""
    steps, values = stage.series(key)
    points = [(step, value) for step, value in zip(steps, values, strict=True) if step >= first]
    if not points:
        return []
    xs, ys = zip(*points, strict=True)
    return [Line(xs, ys, "ink", f"{name} {form(ys[-1])}", "dots")]


def preferences(stages: list[Stage]) -> list[Plot]:
    """Rewards of chosen and rejected answers, and how often the chosen one wins, of each preference stage."""
    found = []
    for stage in stages:
        rewards = _trend(stage, "rewards/chosen", color(stage), "chosen")
        rewards += _trend(stage, "rewards/rejected", "ink", "rejected", "dash")
        if rewards:
            found.append(
                Plot(f"{stage.label}: rewards", rewards, Axis("step"), "Rewards", captions.REWARD_LINE)
            )
        share = measures.share
        wins = _trend(stage, "rewards/accuracies", color(stage), "training", form=share)
        wins += _held_out(stage, "val/rewards/accuracies", "held-out", form=share)
        if wins:
            heading, text = "Chosen answer preferred", captions.ACCURACY_LINE
            name = f"{stage.label}: {heading.lower()}"
            found.append(Plot(name, wins, Axis("step"), heading, text, form=svg.percent))
    return found


def rl(stages: list[Stage]) -> list[Plot]:
    """What learning by reward is watched by (`captions.RL`); mean and spread show each reward beside the sum."""
    found = []
    for stage in (stage for stage in stages if stage.series("reward")[0]):
        for key, text in captions.RL:
            is_spread = key == "reward_std"
            name = "spread of rewards" if is_spread else key.replace("_", " ")
            lines = _trend(stage, key, color(stage), "reward" if is_spread else name)
            if is_spread or key == "reward":
                lines += _each_reward(stage, "_std" if is_spread else "")
            if lines:
                found.append(Plot(f"{stage.label}: {name}", lines, Axis("step"), name.capitalize(), text))
    return found


def _each_reward(stage: Stage, ending: str) -> list[Line]:
    """The trend of each reward (or of what `ending` names of it)."""
    rewards = [key for key in stage.keys if key.startswith("rewards/") and not key.endswith("_std")]
    styles: Iterable[Style] = itertools.cycle(("line", "dash"))
    return [
        line
        for key, style in zip(rewards, styles, strict=False)
        for line in _trend(stage, key + ending, "ink", key.partition("/")[2], style)[1:]
    ]


LIFE: tuple[tuple[str, str, str, Style], ...] = (
    ("/recall", "facts recalled", "base", "dash"),
    ("/never_asked", "right answers", "sft", "line"),
    ("/harmful_refusal", "harmful refused", "dpo", "line"),
    ("/list_format", "lists well formed", "rl", "line"),
    ("over_refusal", "harmless refused", "lesson", "dash"),
)


def life(stages: list[Stage]) -> tuple[Plot, list[tuple[float, str]]] | None:
    """A few scores over the whole life, stage after stage, and where each begins; None for a single stage.

    Stages are equally wide; within one the axis is its steps.
    """
    stages = [stage for stage in facts.life(stages) if stage.score_keys and stage.last_step]
    lines: list[Line] = []
    for ending, name, color, style in LIFE:
        xs: list[float] = []
        ys: list[float] = []
        for index, stage in enumerate(stages):
            steps, values = _worst(stage, ending)
            xs += [index + step / stage.last_step for step in steps]
            ys += values
        if len(ys) > 1:
            lines.append(Line(xs, ys, color, name, style, dotted=True))
    if len(stages) < 2 or not lines:
        return None
    marks = [(index + 1, f"{stage.last_step:,}") for index, stage in enumerate(stages)]
    axis = Axis("steps of each stage", marks, ends=(0, len(stages)))
    return Plot("Scores over the stages", lines, axis, form=svg.percent), [
        (float(i), stage.label) for i, stage in enumerate(stages)
    ]


def _worst(stage: Stage, ending: str) -> tuple[list[float], list[float]]:
    """The series whose key ends with `ending`; of several (kinds of over-refusal) the highest each step."""
    keys = [k for k in stage.score_keys if k.endswith(ending) or (ending == "over_refusal" and ending in k)]
    highest: dict[float, float] = {}
    for key in (key for key in keys if not measures.is_standard_error(key)):
        for step, value in zip(*stage.series(key), strict=True):
            highest[step] = max(value, highest.get(step, value))
    return sorted(highest), [highest[step] for step in sorted(highest)]


def hellaswag(stages: list[Stage], original: Original | None = None) -> list[Plot]:
    """HellaSwag accuracy of each stage that measured it, above chance.

    A run on text stands beside OpenAI's GPT-2 124M; pretraining also beside the original NeoGPT, by tokens.
    """
    found = []
    for stage in stages:
        lines: list[Line] = []
        for key, name in (("hellaswag/acc_norm", "acc_norm"), ("hellaswag/acc", "acc")):
            steps, values = stage.series(key)
            if values:
                label = f"{name} {values[-1]:.4f}"
                errors = stage.series(f"{key}_stderr")[1]
                label += f" ± {errors[-1]:.4f}" if errors else ""
                first = not lines
                spread = errors if first and len(errors) == len(values) else ()
                line = Line(steps, values, color(stage), label, "line" if first else "thin", spread=spread)
                lines.append(line)
        if lines:
            text = measures.measure("hellaswag/acc_norm").explanation
            name = f"{stage.label}: HellaSwag"
            plot = Plot(name, lines, Axis("step"), "HellaSwag", text, form=svg.percent)
            found.append(_beside_references(stage, plot, original or {}))
    return found


def _beside_references(stage: Stage, plot: Plot, original: Original) -> Plot:
    """The plot with chance, and with the original project's figures where they are comparable."""
    lines, axis, caption = plot.lines, plot.axis, " ".join(references.hellaswag_notes([stage]))
    is_comparable = references.is_comparable_hellaswag(stage)
    if is_comparable and stage.kind == "pretrain" and stage.tokens:
        lines = [line for old in lines if (line := _by_tokens(stage, old))]
        high = max(lines[0].xs[-1], 1.0)
        axis = Axis("tokens", _token_marks(0, high), ends=(0.0, high))
        xs, ys = _between(*original.get("hellaswag_acc_norm", ([], [])), 0, high)
        if len(xs) > 1:
            lines.append(Line(xs, ys, "dpo", f"original NeoGPT {ys[-1]:.4f}", "thin"))
    first, last = lines[0].xs[0], lines[0].xs[-1]
    ends = axis.ends or ((first, last) if first < last else (0.0, max(last, 1.0)))
    if is_comparable:
        value, caption = (
            references.GPT2_124M_HELLASWAG,
            references.caption(_has_original(lines), " of acc_norm"),
        )
        lines.append(Line(ends, [value] * 2, "rl", f"GPT-2 124M {value}", "dash"))
    lines = [*lines, Line(ends, [0.25] * 2, "other", "chance 0.25", "dash")]
    explanation = f"{plot.explanation} {caption}".strip()
    return replace(plot, lines=lines, axis=axis, caption=caption, explanation=explanation)
