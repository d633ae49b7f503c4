"""What a report says, apart from how it looks: report.html, report.md and the terminal all show these facts."""

import datetime
import math
from collections.abc import Iterable
from dataclasses import dataclass

from neogpt.ledger import Row
from neogpt.report import measures
from neogpt.report.measures import Measure
from neogpt.report.runs import KINDS, Stage, is_number

ANSWERS_SHOWN = 24
"""Questions a report shows for each eval; the ledger has the rest."""
VERDICTS = {"right": "✓", "wrong": "✗", "refused": "⊘", "degenerate": "≈"}
"""A sign for each verdict, so that it is told apart without colour."""


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
        return measures.share(value) if self.measure.form == "share" else measures.number(value)

    def is_best(self, value: float) -> bool:
        """True for the best of several different values, as they are printed."""
        known = [v for v in self.values if v is not None]
        if not self.measure.better or len({self.text(v) for v in known}) < 2:
            return False
        best = max(known) if self.measure.better == "higher" else min(known)
        return self.text(value) == self.text(best)


@dataclass(frozen=True)
class Answer:
    """What one stage answered."""

    text: str
    verdict: str


@dataclass(frozen=True)
class Question:
    """One question and each stage's answer to it (None: not asked there)."""

    text: str
    kind: str
    answers: list[Answer | None]


def scores(stages: list[Stage]) -> dict[str, list[Score]]:
    """All that evals measured, by group, in the order of the catalogue; each stage's newest value."""
    keys = {key: None for stage in stages for key in stage.score_keys if not measures.is_standard_error(key)}
    ranks = [known.pattern for known in measures.MEASURES]

    def rank(key: str) -> int:
        pattern = measures.measure(key).pattern
        return ranks.index(pattern) if pattern in ranks else len(ranks)

    found: dict[str, list[Score]] = {group: [] for group in measures.GROUPS}
    for key in sorted(keys, key=rank):
        measure = measures.measure(key)
        values = [stage.latest(key) for stage in stages]
        errors = [_standard_error(stage, key) for stage in stages]
        found[measure.group].append(Score(key, measure, values, errors))
    return {group: rows for group, rows in found.items() if rows}


def _standard_error(stage: Stage, key: str) -> float | None:
    found = (stage.latest(key + suffix) for suffix in measures.STANDARD_ERRORS)
    return next((value for value in found if value is not None), None)


def over_refusal(stage: Stage) -> float | None:
    """The worst over-refusal rate that a stage has measured."""
    cells = [
        stage.latest(k) for k in stage.score_keys if "over_refusal" in k and not k.endswith(("_se", "err"))
    ]
    return max((cell for cell in cells if cell is not None), default=None)


def latest(stage: Stage, ending: str) -> float | None:
    """The newest value of the first metric whose key ends with `ending`."""
    return next((stage.latest(key) for key in stage.score_keys if key.endswith(ending)), None)


def life(stages: list[Stage]) -> list[Stage]:
    """The stages without those that only stand beside another as a lesson."""
    return [stage for stage in stages if not stage.is_lesson]


def verdict(stages: list[Stage]) -> str:
    """What came of it, in one sentence, every number from the ledgers."""
    last = life(stages)[-1]
    size = f"A GPT-2 of {measures.count(last.parameters)} parameters" if last.parameters else "A GPT-2"
    time = _spent(life(stages))
    done = f"{size} grew through {_listed(s.label for s in life(stages))}" if len(life(stages)) > 1 else size
    effects = _effects(last)
    if len(life(stages)) == 1:
        place = f"after {last.last_step:,} steps of {KINDS.get(last.kind, last.kind)} training"
        return f"{size} {_listed(effects) or 'has been trained'} {place}{time}."
    return f"{done}{time}" + (f": it now {_listed(effects)}." if effects else ".")


def _effects(stage: Stage) -> list[str]:
    share = measures.share
    found = []
    if (right := latest(stage, "/never_asked")) is not None and right > 0:
        found.append(f"answers {share(right)} of questions about people it was never asked about")
    elif (recall := latest(stage, "/recall")) is not None:
        found.append(f"recalls {share(recall)} of the facts it read")
    elif (swag := latest(stage, "hellaswag/acc_norm")) is not None:
        found.append(f"picks the right HellaSwag ending {share(swag)} of the time")
    over = over_refusal(stage)
    if stage.kind not in ("pretrain", "sft") and (refused := latest(stage, "/harmful_refusal")) is not None:
        found.append(f"refuses {share(refused)} of harmful requests")
        if over is not None:
            found.append(f"wrongly refuses at most {share(over)} of harmless ones")
    if not found and (loss := stage.latest("val_loss")) is not None:
        found.append(f"reached a validation loss of {measures.number(loss)}")
    elif not found and (trained := stage.latest("loss")) is not None:
        found.append(f"reached a training loss of {measures.number(trained)}")
    return found


def _spent(stages: list[Stage]) -> str:
    known = [stage.seconds for stage in stages if stage.seconds is not None]
    return f" in {measures.duration(sum(known))}" if known else ""


def _listed(parts: Iterable[str]) -> str:
    items = list(parts)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + f" and {items[-1]}" if items else ""


def lesson(stages: list[Stage]) -> tuple[Stage, Stage, str] | None:
    """The red-team-only stage, the balanced one beside it, and what the comparison shows."""
    for stage in stages:
        twin = next((s for s in reversed(life(stages)) if s.kind == stage.kind), None)
        if not stage.is_lesson or twin is None:
            continue
        bad, good = over_refusal(stage), over_refusal(twin)
        if bad is None or good is None:
            continue
        text = (
            "The original NeoGPT trained its preferences on red-team pairs alone, in which the better answer is "
            "mostly a refusal. The same setting here, everything else equal, "
            f"refuses {measures.share(bad)} of the harmless requests that it should answer (worst kind); "
            f"with helpful pairs beside them it is {measures.share(good)}."
        )
        return stage, twin, text
    return None


def answers(stages: list[Stage]) -> dict[str, list[Question]]:
    """The same questions as every stage answered them at its latest step, by eval; most shared ones first."""
    newest = [_newest_samples(stage) for stage in stages]
    asked = dict.fromkeys(key for rows in newest for key in rows)
    by_eval: dict[str, list[Question]] = {}
    for name, text in asked:
        rows = [found.get((name, text)) for found in newest]
        kind = next((str(row["kind"]) for row in rows if row and row.get("kind")), "")
        said = [row and Answer(str(row.get("answer", "")), str(row.get("verdict") or "")) for row in rows]
        by_eval.setdefault(name, []).append(Question(text, kind, said))
    for questions in by_eval.values():
        questions.sort(key=lambda q: -sum(a is not None for a in q.answers))
    return by_eval


def _newest_samples(stage: Stage) -> dict[tuple[str, str], Row]:
    """The rows of each eval's latest step, by eval and question."""
    rows = [row for row in stage.samples if "question" in row and is_number(row.get("step"))]
    last: dict[str, float] = {}
    for row in rows:
        name = str(row.get("eval", ""))
        last[name] = max(last.get(name, 0), row["step"])
    return {
        (name, str(row["question"])): row
        for row in rows
        if row["step"] == last[name := str(row.get("eval", ""))]
    }


def training(stages: list[Stage]) -> list[tuple[str, list[tuple[str, float | None]]]]:
    """How each stage was trained: a name, and for each stage the text and the value behind it."""
    spent: dict[str, list[tuple[str, float | None]]] = {
        "Steps": [(steps(stage), stage.last_step) for stage in stages],
        "Tokens": [_shown(stage.tokens, measures.count) for stage in stages],
        "Parameters": [_shown(stage.parameters, measures.count) for stage in stages],
        "Peak learning rate": [_shown(_peak(stage), lambda v: f"{v:.1e}") for stage in stages],
        "Training loss, last": [_shown(stage.latest("loss"), measures.number) for stage in stages],
        "Validation loss, last": [_shown(stage.latest("val_loss"), measures.number) for stage in stages],
        "Preference margin, last": [
            _shown(stage.latest("rewards/margins"), measures.number) for stage in stages
        ],
        "Tokens a second (median)": [_shown(stage.tokens_per_s, lambda v: f"{v:,.0f}") for stage in stages],
        "Time": [_shown(stage.seconds, measures.duration) for stage in stages],
    }
    return [(name, row) for name, row in spent.items() if any(value is not None for _, value in row)]


def steps(stage: Stage) -> str:
    """Steps taken, and out of how many when the run is still under way."""
    if stage.is_finished or not stage.planned_steps:
        return f"{stage.last_step:,}"
    return f"{stage.last_step:,} of {stage.planned_steps:,}"


def _peak(stage: Stage) -> float | None:
    _, rates = stage.series("lr")
    return max(rates, default=None)


def _shown(value: float | None, form: object) -> tuple[str, float | None]:
    return ("–", None) if value is None else (form(value), value)  # type: ignore[operator]


def environment(stages: list[Stage]) -> list[tuple[str, str]]:
    """Machine and versions as the start events tell them; where stages differ, each different value."""
    found: dict[str, dict[str, None]] = {}
    for stage in stages:
        host = stage.start.get("host")
        told = {**(host if isinstance(host, dict) else {}), "device": stage.start.get("device")}
        for name, value in told.items():
            if value not in (None, "", {}, []):
                found.setdefault(str(name).replace("_", " "), {})[_plain(value)] = None
    begun = [stage.start["time"] for stage in stages if is_number(stage.start.get("time"))]
    rows = [(name, "; ".join(values)) for name, values in found.items()]
    return [("started", _date(min(begun))), *rows] if begun else rows


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _date(seconds: float) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, OSError, ValueError):
        return "–"
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def notes(stages: list[Stage]) -> list[str]:
    """What a reader should know about gaps: runs under way, stages without scores or answers."""
    found = []
    for stage in stages:
        if not stage.is_finished:
            found.append(f"{stage.label} has not ended: the report shows it up to step {steps(stage)}.")
        if not stage.score_keys:
            found.append(f"{stage.label} has no evaluation in its ledger.")
        if any(
            isinstance(row.get("loss"), float) and not math.isfinite(row["loss"]) for row in stage.metrics
        ):
            found.append(f"{stage.label} has losses that are not finite; they are left out of the curves.")
    return found
