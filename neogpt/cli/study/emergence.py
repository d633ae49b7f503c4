"""When a skill came: head scores, copying, facts and answers from the text over a run's checkpoints."""

import math
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from neogpt.cli import _flags
from neogpt.cli.study import _common

if TYPE_CHECKING:
    from neogpt.report.markup import Markup
    from neogpt.studies.interpretability.emergence import HeadsOff, Moment

MEASURES = {
    "previous": "best previous-token head",
    "induction": "best induction head",
    "copying": "copying of random tokens (nats)",
    "from_context": "rumours ended from the text",
    "context_gain": "gain by the text (nats)",
    "recall": "facts recalled",
    "depth": "layers until it is settled",
    "loss": "training loss",
}
SHARES = ("previous", "induction", "from_context", "recall")
"""Measures between 0 and 1, drawn on that scale."""
GROWING = ("induction", "copying", "from_context", "context_gain", "recall")
"""Measures whose half-way step is told."""


@dataclass(frozen=True)
class Options:
    """When a skill came: head scores, copying, facts and answers from the text over a run's checkpoints.

    For runs of tinyworld with many checkpoints. Then the induction heads of the last checkpoint are switched off, and
    as many other heads drawn at random: do answers from the text need them? Several runs (seeds) get a mean with its
    standard error. Writes emergence.html and emergence.json.

    examples: neogpt pretrain tinyworld --run runs/dense --save.every 10 --save.keep-every 10
              neogpt study emergence runs/dense
    """

    runs: tyro.conf.Positional[tuple[str, ...]]
    """run directories, of one recipe and several seeds."""
    limit: int | None = None
    """facts and rumours a checkpoint; by default 400 rumours and all facts."""
    out: Path = Path("emergence")
    """folder to write to."""
    json: bool = False
    """print the numbers as JSON."""


def run(args: list[str]) -> int:
    """`neogpt study emergence RUN... [--limit N]`."""
    given = _flags.bare(args, "--json")
    options = tyro.cli(
        Options, args=given, prog="neogpt study emergence", config=(tyro.conf.FlagCreatePairsOff,)
    )
    _common.need(options.runs, 1, "runs are", "neogpt study emergence runs/demo/pretrain")
    _common.check_limit(options.limit)
    _study(options, _common.command_line("emergence", args))
    return 0


def _study(options: Options, command: str) -> None:
    from neogpt.studies import subjects  # start-up time
    from neogpt.studies.interpretability import emergence

    found: dict[str, list[Moment]] = {}
    off: dict[str, HeadsOff] = {}
    for name in options.runs:
        found[name] = emergence.moments(name, options.limit, partial(_progress, name))
        last = subjects.checkpoints(name)[-1][1]
        off[name] = emergence.heads_off(subjects.load(str(last)), options.limit)
    summary = _summary(found, off)
    figures = {
        "command": command,
        "runs": {
            name: {
                "rows": [_finite(moment.row()) for moment in moments],
                "induction_by_head": [moment.scores.induction.tolist() for moment in moments],
                "half_step": _finite(_half_steps(moments)),
                "heads_off": asdict(off[name]),
            }
            for name, moments in found.items()
        },
        "summary": summary,
    }
    _common.finish(
        options.out, "emergence", figures, _page(found, off, summary, command), options.json,
        _lines(found, off),
    )  # fmt: skip


def _progress(name: str, moment: "Moment") -> None:
    row = moment.row()
    told = ", ".join(f"{key} {row[key]:.2f}" for key in ("induction", "from_context", "recall"))
    print(f"{name}: step {moment.step}, {told}", file=sys.stderr, flush=True)


def _finite(row: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {key: value if math.isfinite(value) else None for key, value in row.items()}


def _half_steps(moments: "list[Moment]") -> dict[str, float]:
    from neogpt.studies.interpretability.emergence import INDUCTION_SCORE, half_step  # start-up time

    rows = [moment.row() for moment in moments]
    found = {key: half_step([int(r["step"]) for r in rows], [r[key] for r in rows]) for key in GROWING}
    if max(row["induction"] for row in rows) < INDUCTION_SCORE:
        found["induction"] = math.nan  # none formed: what grew is noise
    return found


def _summary(found: "dict[str, list[Moment]]", off: "dict[str, HeadsOff]") -> dict[str, Any]:
    """Means over the runs, with standard errors; of heads switched off, over the runs that have induction heads."""
    from neogpt.studies.statistics import estimate  # start-up time

    halves = [_half_steps(moments) for moments in found.values()]
    half = {key: [h[key] for h in halves if math.isfinite(h[key])] for key in GROWING}
    gaps = [h["induction"] - h["from_context"] for h in halves]
    gaps = [gap for gap in gaps if math.isfinite(gap)]
    with_heads = [h for h in off.values() if h.induction_heads]
    return {
        "runs": len(found),
        "runs_with_induction_heads": len(with_heads),
        "half_step": {key: estimate(values)._asdict() for key, values in half.items() if values},
        "induction_less_from_context_steps": estimate(gaps)._asdict() if gaps else None,
        "heads_off": {
            skill: {
                "whole": estimate([h.whole[skill] for h in with_heads])._asdict(),
                "without_induction": estimate([h.without_induction[skill] for h in with_heads])._asdict(),
                "without_others": estimate([h.without_others[skill].mean for h in with_heads])._asdict(),
            }
            for skill in (SKILLS if with_heads else ())
        },
    }


def _off_rows(off: "dict[str, HeadsOff]") -> list[list[str]]:
    rows = []
    for name, h in off.items():
        cells = [f"{h.whole[skill]:.3f}" for skill in SKILLS]
        if h.induction_heads:
            cells[1:1] = [f"{h.without_induction['from_context']:.3f}", str(h.without_others["from_context"])]
            cells += [f"{h.without_induction['recall']:.3f}", str(h.without_others["recall"])]
        else:
            cells = [cells[0], "", "", cells[1], "", ""]
        rows.append([name, " ".join(h.induction_heads) or "none", *cells])
    return rows


SKILLS = ("from_context", "recall")
OFF_HEADS = (
    "run", "induction heads", "rumours: whole", "without them", "others off", "facts: whole", "without them",
    "others off",
)  # fmt: skip


def _lines(found: "dict[str, list[Moment]]", off: "dict[str, HeadsOff]") -> list[str]:
    lines = []
    for name, moments in found.items():
        rows = [moment.row() for moment in moments]
        heads = ["step", *MEASURES]
        cells = [[str(int(r["step"])), *(f"{r[key]:.3f}" for key in MEASURES)] for r in rows]
        half = ", ".join(f"{key} {step:.0f}" for key, step in _half_steps(moments).items())
        lines += [name, *_common.columns(heads, cells), f"half-way at step: {half}", ""]
    return [*lines, *_common.columns(OFF_HEADS, _off_rows(off))]


def _page(
    found: "dict[str, list[Moment]]", off: "dict[str, HeadsOff]", summary: dict[str, Any], command: str
) -> str:
    from neogpt.report.markup import tag  # start-up time
    from neogpt.report.svg import Axis, Line
    from neogpt.studies.interpretability import tables

    def chart(key: str) -> "Markup | None":
        lines = []
        for index, (name, moments) in enumerate(found.items()):
            points = [(m.step, m.row()[key]) for m in moments if math.isfinite(m.row()[key])]
            if points:
                xs, ys = zip(*points, strict=True)
                label = Path(name).name if len(found) > 1 else f"{ys[-1]:.2f}"
                colour = ("base", "sft", "dpo", "rl", "lesson")[index % 5]
                lines.append(Line(xs, ys, colour, label, dotted=len(points) < 40))
        y = (0.0, 1.0) if key in SHARES else None
        return tables.curve(MEASURES[key], lines, Axis("step"), y) if lines else None

    charts = tag("div", [chart(key) for key in MEASURES], class_="grid2")
    half = [[MEASURES[key], f"{e['mean']:.0f}" + (f" ± {e['standard_error']:.0f}" if e["n"] > 1 else "")]
            for key, e in summary["half_step"].items()]  # fmt: skip
    sections = [
        tables.section("Over the checkpoints", "Each measure at each checkpoint that the run kept.", charts),
        tables.section(
            "When",
            "The step at which a measure passes half of the way from its first value to its highest.",
            tables.table(["measure", "half-way at step"], half),
        ),
        tables.section(
            "Do answers need those heads?",
            "Shares of rumours and of facts ended rightly: whole, without the induction heads, and without as many "
            "other heads drawn at random (mean and standard error of the draws).",
            tables.table(OFF_HEADS, _off_rows(off)),
        ),
    ]
    lead = "Head scores, copying, facts and answers from the text, checkpoint by checkpoint."
    return tables.study_page("When it came", lead, sections, command)
