"""Which curves a report shows, as data for either kind of drawing (SVG in the page, PNG beside it)."""

from collections.abc import Callable
from dataclasses import dataclass

from neogpt.report import curves, facts, measures, svg
from neogpt.report.runs import KINDS, Stage
from neogpt.report.svg import Axis, Line, Style

LOG_FROM = 300
"""A pretraining curve of at least this many steps gets a logarithmic step axis: most happens early."""
GPT2_124M_HELLASWAG = 0.2945
"""HellaSwag of OpenAI's GPT-2 124M, the line that the original NeoGPT drew for comparison."""
COLOURS = {"pretrain": "base", "sft": "sft", "dpo": "dpo", "grpo": "rl", "rl": "rl"}


@dataclass(frozen=True)
class Plot:
    """One chart: its heading, its curves and axis, and what it shows in words under a topic."""

    heading: str
    lines: list[Line]
    axis: Axis
    topic: str = ""
    explanation: str = ""
    form: Callable[[float], str] = svg.plain


def colour(stage: Stage) -> str:
    """The stage's colour, by name."""
    return "lesson" if stage.is_lesson else COLOURS.get(stage.kind, "other")


def losses(stages: list[Stage]) -> list[Plot]:
    """Training loss (as logged, and its trend) and validation loss of each stage that has any.

    Where a loss has several terms, the stage's own one is drawn.
    """
    found = []
    for stage in stages:
        log = stage.kind == "pretrain" and stage.last_step >= LOG_FROM
        lines = _trend(stage, stage.own("loss"), colour(stage), "training", early=log)
        lines += _held_out(stage, stage.own("val_loss"), "validation", first=1 if log else 0)
        if lines:
            axis = Axis("step (logarithmic)" if log else "step", log=log)
            topic, text = (
                KINDS.get(stage.kind, stage.kind),
                measures.LOSS_LINES.get(stage.kind, "Lower is better."),
            )
            found.append(Plot(stage.label, lines, axis, topic, text))
    return found


def _trend(
    stage: Stage,
    key: str,
    colour: str,
    name: str,
    style: Style = "line",
    early: bool = False,
    form: Callable[[float], str] = measures.number,
) -> list[Line]:
    """A series as logged (faint) and its trend, labelled with the trend's end."""
    steps, values = stage.series(key)
    if not values:
        return []
    trend = curves.smooth(values, early=early).tolist()
    noise = Line(steps, values, colour, style="faint", noisy=True)
    return [noise, Line(steps, trend, colour, f"{name} {form(trend[-1])}", style)]


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
        rewards = _trend(stage, "rewards/chosen", colour(stage), "chosen")
        rewards += _trend(stage, "rewards/rejected", "ink", "rejected", "dash")
        if rewards:
            found.append(
                Plot(f"{stage.label}: rewards", rewards, Axis("step"), "Rewards", measures.REWARD_LINE)
            )
        share = measures.share
        wins = _trend(stage, "rewards/accuracies", colour(stage), "training", form=share)
        wins += _held_out(stage, "val/rewards/accuracies", "held-out", form=share)
        if wins:
            heading, text = "Chosen answer preferred", measures.ACCURACY_LINE
            name = f"{stage.label}: {heading.lower()}"
            found.append(Plot(name, wins, Axis("step"), heading, text, svg.percent))
    return found


LIFE: tuple[tuple[str, str, str, Style], ...] = (
    ("/recall", "facts recalled", "base", "dash"),
    ("/never_asked", "right answers", "sft", "line"),
    ("/harmful_refusal", "harmful refused", "dpo", "line"),
    ("over_refusal", "harmless refused", "lesson", "dash"),
)


def life(stages: list[Stage]) -> tuple[Plot, list[tuple[float, str]]] | None:
    """A few scores over the whole life, stage after stage, and where each begins; None for a single stage.

    Stages are equally wide; within one the axis is its steps.
    """
    stages = [stage for stage in facts.life(stages) if stage.score_keys and stage.last_step]
    lines: list[Line] = []
    for ending, name, colour, style in LIFE:
        xs: list[float] = []
        ys: list[float] = []
        for index, stage in enumerate(stages):
            steps, values = _worst(stage, ending)
            xs += [index + step / stage.last_step for step in steps]
            ys += values
        if len(ys) > 1:
            lines.append(Line(xs, ys, colour, name, style, dotted=True))
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


def hellaswag(stages: list[Stage]) -> list[Plot]:
    """HellaSwag accuracy of each stage that measured it, above chance and beside OpenAI's GPT-2 124M."""
    found = []
    for stage in stages:
        lines: list[Line] = []
        for key, name in (("hellaswag/acc_norm", "acc_norm"), ("hellaswag/acc", "acc")):
            steps, values = stage.series(key)
            if values:
                style: Style = "dash" if lines else "line"
                lines.append(Line(steps, values, colour(stage), f"{name} {values[-1]:.4f}", style))
        if lines:
            ends = [lines[0].xs[0], lines[0].xs[-1]]
            lines.append(Line(ends, [GPT2_124M_HELLASWAG] * 2, "ink", "GPT-2 124M 0.2945", "dash"))
            lines.append(Line(ends, [0.25] * 2, "other", "chance 0.25", "dash"))
            text = measures.measure("hellaswag/acc_norm").explanation
            name = f"{stage.label}: HellaSwag"
            found.append(Plot(name, lines, Axis("step"), "HellaSwag", text, svg.percent))
    return found
