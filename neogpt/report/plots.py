"""Which curves a report shows, as data for either kind of drawing (SVG in the page, PNG beside it)."""

from dataclasses import dataclass

from neogpt.report import curves, facts, measures
from neogpt.report.runs import Stage
from neogpt.report.svg import Axis, Line

LOG_FROM = 300
"""A pretraining curve of at least this many steps gets a logarithmic step axis: most happens early."""
GPT2_124M_HELLASWAG = 0.2945
"""HellaSwag of OpenAI's GPT-2 124M, the line that the original NeoGPT drew for comparison."""
COLOURS = {"pretrain": "base", "sft": "sft", "dpo": "dpo", "grpo": "rl", "rl": "rl"}


@dataclass(frozen=True)
class Plot:
    """One chart: its heading, what it tells, its curves and its horizontal axis."""

    heading: str
    explanation: str
    lines: list[Line]
    axis: Axis


def colour(stage: Stage) -> str:
    """The stage's colour, by name."""
    return "lesson" if stage.is_lesson else COLOURS.get(stage.kind, "other")


def losses(stages: list[Stage]) -> list[Plot]:
    """Training loss (as logged, and its trend) and validation loss of each stage that has any."""
    found = []
    for stage in stages:
        lines = _trend(stage, "loss", colour(stage), "training")
        steps, values = stage.series("val_loss")
        if values:
            label = f"validation {measures.number(values[-1])}"
            lines.append(Line(steps, values, "ink", label, "dots"))
        if lines:
            explanation = measures.LOSS_LINES.get(stage.kind, "Lower is better.")
            found.append(Plot(stage.label, explanation, lines, _step_axis(stage)))
    return found


def _step_axis(stage: Stage) -> Axis:
    log = stage.kind == "pretrain" and stage.last_step >= LOG_FROM
    return Axis("step (logarithmic)" if log else "step", log=log)


def _trend(stage: Stage, key: str, colour: str, name: str, style: str = "line") -> list[Line]:
    steps, values = stage.series(key)
    if not values:
        return []
    trend = curves.smooth(values).tolist()
    label = f"{name} {measures.number(trend[-1])}"
    return [
        Line(steps, values, colour, style="faint", noisy=True),
        Line(steps, trend, colour, label, style),  # type: ignore[arg-type]
    ]


def preferences(stages: list[Stage]) -> list[Plot]:
    """Rewards of chosen and rejected answers, and how often the chosen one wins, of each preference stage."""
    found = []
    for stage in stages:
        rewards = _trend(stage, "rewards/chosen", colour(stage), "chosen")
        rewards += _trend(stage, "rewards/rejected", "ink", "rejected", "dash")
        if not rewards:
            rewards = _trend(stage, "rewards/margins", colour(stage), "margin")
        if rewards:
            found.append(Plot(f"{stage.label}: rewards", measures.REWARD_LINE, rewards, Axis("step")))
        if wins := _trend(stage, "rewards/accuracies", colour(stage), "accuracy"):
            heading = f"{stage.label}: chosen answer preferred"
            found.append(Plot(heading, measures.ACCURACY_LINE, wins, Axis("step")))
    return found


LIFE = (
    ("/recall", "facts recalled", "base", "dash"),
    ("/never_asked", "right answers", "sft", "line"),
    ("/harmful_refusal", "harmful refused", "dpo", "line"),
    ("over_refusal", "harmless refused", "lesson", "dash"),
)


def life(stages: list[Stage]) -> tuple[Plot, list[tuple[float, str]]] | None:
    """A few scores over the whole life, stage after stage, and where each stage begins; None for a single one.

    Stages are equally wide; within one the axis is its steps.
    """
    stages = [stage for stage in facts.life(stages) if stage.score_keys and stage.last_step]
    lines = []
    for ending, name, colour, style in LIFE:
        xs: list[float] = []
        ys: list[float] = []
        for index, stage in enumerate(stages):
            steps, values = _worst(stage, ending)
            xs += [index + step / stage.last_step for step in steps]
            ys += values
        if len(ys) > 1:
            lines.append(Line(xs, ys, colour, name, style))  # type: ignore[arg-type]
    if len(stages) < 2 or not lines:
        return None
    marks = [(index + 1, f"{stage.last_step:,}") for index, stage in enumerate(stages)]
    axis = Axis("steps of each stage", marks, ends=(0, len(stages)))
    text = "How the scores came about: what each stage taught, and that the next one did not undo it."
    return Plot("", text, lines, axis), [(float(i), stage.label) for i, stage in enumerate(stages)]


def _worst(stage: Stage, ending: str) -> tuple[list[float], list[float]]:
    """The series whose key ends with `ending`; of several (kinds of over-refusal) the highest at each step."""
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
        lines = []
        for key, name in (("hellaswag/acc_norm", "acc_norm"), ("hellaswag/acc", "acc")):
            steps, values = stage.series(key)
            if values:
                style = "line" if not lines else "dash"
                lines.append(Line(steps, values, colour(stage), f"{name} {values[-1]:.4f}", style))  # type: ignore[arg-type]
        if lines:
            ends = [lines[0].xs[0], lines[0].xs[-1]]
            lines.append(Line(ends, [GPT2_124M_HELLASWAG] * 2, "ink", "GPT-2 124M 0.2945", "dash"))
            lines.append(Line(ends, [0.25] * 2, "other", "chance 0.25", "dash"))
            text = measures.measure("hellaswag/acc_norm").explanation
            found.append(Plot(f"{stage.label}: HellaSwag", text, lines, Axis("step")))
    return found
