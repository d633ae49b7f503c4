"""What a report says, apart from how it looks: the page, the Markdown and the terminal show these facts."""

import datetime
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from neogpt import ledger
from neogpt.report import measures
from neogpt.report.measures import Measure
from neogpt.report.runs import Stage

ARROWS = {"higher": "↑", "lower": "↓", "": ""}
SIGNS = {"●": "good", "◐": "middling", "○": "poor"}
KEY = (
    "↑ higher is better, ↓ lower is better. ● good (within 10% of perfect), ◐ middling, ○ poor (less than half). "
    "Bold: best of its row. Each figure is from the stage's newest evaluation, or its best "
    "where it could end early."
)


@dataclass(frozen=True)
class Score:
    """One metric over all stages; None where a stage has not measured it."""

    key: str
    measure: Measure
    values: list[float | None]
    errors: list[float | None]

    def goodness(self, value: float) -> float | None:
        """0 (worst) to 1 (best), for shares of a known direction."""
        if self.measure.form != "share" or not self.measure.better:
            return None
        return value if self.measure.better == "higher" else 1 - value

    def sign(self, value: float) -> str:
        """● good (90% or better), ◐ middling, ○ poor (under half); nothing where no direction is known."""
        good = self.goodness(value)
        return "" if good is None else "●" if good >= 0.9 else "◐" if good >= 0.5 else "○"

    def text(self, value: float) -> str:
        """The value as it is printed."""
        return measures.share(value) if self.measure.form == "share" else measures.number(value)

    def is_best(self, value: float) -> bool:
        """True for the best of several different values, as they are printed."""
        known = [v for v in self.values if v is not None]
        if not self.measure.better or len({self.text(v) for v in known}) < 2:
            return False
        best = max(known) if self.measure.better == "higher" else min(known)
        return self.text(value) == self.text(best)


def scores(stages: list[Stage]) -> dict[str, list[Score]]:
    """All that evals measured, by group, in the order of the catalogue; each stage's value where it stands."""
    keys = dict.fromkeys(key for stage in stages for key in stage.score_keys)
    found: dict[str, list[Score]] = {group: [] for group in measures.GROUPS}
    for key in sorted((key for key in keys if not measures.is_standard_error(key)), key=measures.rank):
        measure = measures.measure(key)
        values = [stage.standing(key) for stage in stages]
        errors = [_standard_error(stage, key) for stage in stages]
        found[measure.group].append(Score(key, measure, values, errors))
    return {group: rows for group, rows in found.items() if rows}


def _standard_error(stage: Stage, key: str) -> float | None:
    return _first(stage.standing(key + suffix) for suffix in measures.STANDARD_ERRORS)


def _first(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)


def over_refusal(stage: Stage) -> float | None:
    """The worst over-refusal rate that a stage has measured."""
    keys = (k for k in stage.score_keys if measures.is_over_refusal(k))
    return max((cell for cell in map(stage.standing, keys) if cell is not None), default=None)


def latest(stage: Stage, ending: str) -> float | None:
    """The value, where the stage stands, of the first metric whose key ends with `ending`."""
    return _first(stage.standing(key) for key in stage.score_keys if key.endswith(ending))


def life(stages: list[Stage]) -> list[Stage]:
    """The stages through which the last one grew, oldest first, without those that stand beside as a lesson.

    Where nothing is known of its origin, all of them.
    """
    grown = [stage for stage in stages if not stage.is_lesson] or stages
    by_name = {stage.name: stage for stage in grown}
    chain = [grown[-1]]
    while chain[0].parent in by_name and by_name[chain[0].parent] not in chain:
        chain.insert(0, by_name[chain[0].parent])
    return chain if chain[0].kind == "pretrain" or len(chain) > 1 else grown


def verdict(stages: list[Stage]) -> str:
    """What came of it, in one sentence, every number from the ledgers."""
    grown = life(stages)
    last, time = grown[-1], _spent(grown)
    size = f"A GPT-2 of {measures.count(last.parameters)} parameters" if last.parameters else "A GPT-2"
    effects = listed(_effects(last))
    if len(grown) == 1:
        return (
            f"{size} {effects or 'is in training'} after {last.last_step:,} steps of {_called(last)}{time}."
        )
    done = f"{size} grew through {listed(map(_called, grown))}{time}"
    return f"{done}: it now {effects}." if effects else f"{done}."


def _called(stage: Stage) -> str:
    """A stage in a sentence: as the work that it is, not as what comes of it."""
    return "pretraining" if stage.kind == "pretrain" else stage.label


def _effects(stage: Stage) -> list[str]:
    """What a stage's model does, in words: knowledge, then refusals, or else its loss."""
    share, found = measures.said_share, []
    if right := latest(stage, "/never_asked"):
        found.append(f"answers {share(right)} of questions about people it was never asked about")
    elif (recall := latest(stage, "/recall")) is not None:
        found.append(f"recalls {share(recall)} of the facts that it read")
    elif (right := latest(stage, "hellaswag/acc_norm")) is not None:
        found.append(f"picks the right HellaSwag ending {share(right)} of the time")
    refused = _first(latest(stage, ending) for ending in ("/harmful_refusal", "/harmful_refused"))
    if stage.kind not in ("pretrain", "sft") and refused is not None:
        found.append(f"refuses {share(refused)} of harmful requests")
        if (over := over_refusal(stage)) is not None:
            most = f"at most {share(over)} of the" if over else "none of the"
            found.append(f"wrongly refuses {most} harmless ones")
    if stage.kind == "rl" and (formed := latest(stage, "/list_format")) is not None:
        found.append(f"writes {share(formed)} of lists in the form asked for")
    for key, name in (("val_loss", "validation"), ("loss", "training")):
        if not found and (loss := stage.standing(key)) is not None:
            bits = stage.standing("val_bpb") if key == "val_loss" else None
            per_byte = f" ({measures.number(bits)} bits per byte)" if bits is not None else ""
            found.append(f"reached a {name} loss of {measures.number(loss)}{per_byte}")
    return found


def _spent(stages: list[Stage]) -> str:
    known = [stage.seconds for stage in stages if stage.seconds is not None]
    return f" in {measures.duration(sum(known))}" if known else ""


def listed(parts: Iterable[str]) -> str:
    """Words as a list in a sentence: a, b and c."""
    *most, last = list(parts) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def lesson(stages: list[Stage]) -> tuple[Stage, Stage, str] | None:
    """The red-team-only stage, the balanced one beside it, and what the comparison shows."""
    for stage in stages:
        twin = next((s for s in reversed(life(stages)) if s.kind == stage.kind), None)
        if not stage.is_lesson or twin is None:
            continue
        bad, good = over_refusal(stage), over_refusal(twin)
        if bad is not None and good is not None:
            return stage, twin, _lesson_text(bad, good)
    return None


def _lesson_text(bad: float, good: float) -> str:
    share = measures.said_share
    story = (
        "The original NeoGPT learnt its preferences from red-team pairs alone, in which the better answer is "
        "mostly a refusal, and came to refuse muffin recipes. "
    )
    if bad - good < 0.05:
        return (
            f"{story}These runs do not show it: of the harmless requests of the worst-hit kind {share(bad)} are "
            f"refused, and {share(good)} with helpful pairs beside the harmful ones."
        )
    return (
        f"{story}The same setting here wrongly refuses {share(bad)} of harmless requests of the worst-hit kind. "
        f"With helpful pairs beside the harmful ones it is {share(good)}."
    )


Cells = list[tuple[str, float | None]]


def training(stages: list[Stage]) -> list[tuple[str, Cells]]:
    """How each stage was trained: a name, and for each stage the text and the value behind it."""
    number, count = measures.number, measures.count
    rows: list[tuple[str, Cells]] = [
        ("Steps", [(steps(stage), stage.last_step) for stage in stages]),
        ("Tokens", _cells((stage.tokens for stage in stages), count)),
        ("Parameters", _cells((stage.parameters for stage in stages), count)),
        ("Peak learning rate", _cells(map(_peak, stages), "{:.2g}".format)),
        ("Last training loss", _cells((stage.latest("loss") for stage in stages), number)),
        ("Last validation loss", _cells((stage.latest("val_loss") for stage in stages), number)),
        ("The same in bits per byte", _cells((stage.latest("val_bpb") for stage in stages), number)),
        ("Last preference margin", _cells((stage.latest("rewards/margins") for stage in stages), number)),
        ("Tokens a second", _cells((stage.tokens_per_s for stage in stages), "{:,.0f}".format)),
        ("Time", _cells((stage.seconds for stage in stages), measures.duration)),
    ]
    return [(name, cells) for name, cells in rows if any(value is not None for _, value in cells)]


def _cells(values: Iterable[float | None], form: Callable[[float], str]) -> Cells:
    return [("–" if value is None else form(value), value) for value in values]


def steps(stage: Stage) -> str:
    """Steps taken, and out of how many when the run is still under way."""
    if stage.is_finished or not stage.planned_steps:
        return f"{stage.last_step:,}"
    return f"{stage.last_step:,} of {stage.planned_steps:,}"


def _peak(stage: Stage) -> float | None:
    _, rates = stage.series("lr")
    return max(rates, default=None)


def environment(stages: list[Stage]) -> list[tuple[str, str]]:
    """Machine and versions as the start events tell them; where stages differ, each different value."""
    found: dict[str, dict[str, None]] = {}
    for stage in stages:
        host = stage.start.get("host")
        own = {name: stage.start.get(name) for name in ("device", "processes")}
        for name, value in {**(host if isinstance(host, Mapping) else {}), **own}.items():
            if value not in (None, "", {}, []):
                found.setdefault(str(name).replace("_", " "), {})[_plain(value)] = None
        if isinstance(data := stage.start.get("data"), Mapping) and data:
            found[f"data, {stage.label}"] = {_plain(data): None}
    begun = [stage.started for stage in stages if stage.started is not None]
    rows = [(name, "; ".join(values)) for name, values in found.items()]
    return [("started", _date(min(begun))), *rows] if begun else rows


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{str(name).replace('_', ' ')} {_plain(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _date(seconds: float) -> str:
    try:
        return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, OSError, ValueError):
        return "–"


def notes(stages: list[Stage]) -> list[str]:
    """What a reader should know: runs under way, gaps in the ledgers, skipped updates, warnings."""
    return [note for stage in stages for note in _notes(stage)]


def _notes(stage: Stage) -> Iterable[str]:
    name = stage.label
    lost = next((row for row in stage.metrics if row.get(ledger.REGRESSED)), None)
    if lost:
        names = ", ".join(lost[ledger.REGRESSED])
        yield (
            f"{name} was ended at step {lost['step']:,} by a guardrail: {names} had worsened. It stands at step "
            f"{stage.stands_at:,.0f}, where all guardrails held: its scores and answers are of that step."
        )
        return
    if not stage.is_finished:
        yield f"{name} has not ended: the report shows it up to step {steps(stage)}."
    if stage.stands_at < stage.last_step:
        best = f"{stage.stands_at:,} of {stage.last_step:,}"
        yield f"{name} stands for its best evaluation, step {best}: its scores and answers are of that step."
    if not stage.score_keys:
        yield f"{name} has no scores in its ledger: no eval has run, or none is set (eval.names)."
    if skipped := sum(bool(row.get("skipped")) for row in stage.metrics):
        yield f"{name}: {skipped:,} of {stage.last_step:,} updates were skipped (non-finite or a spike)."
    elif any(isinstance(row.get("loss"), float) and not math.isfinite(row["loss"]) for row in stage.metrics):
        yield f"{name} has losses that are not finite; the curves leave them out."
    warnings = dict.fromkeys(str(row.get("message")) for row in stage.events if row.get("event") == "warning")
    for message in list(warnings)[:5]:
        yield f"{name} warned: {message}"
