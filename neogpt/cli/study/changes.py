"""What a stage changed: weight differences by component, and hybrids of two stages with their scores."""

from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from neogpt.cli import _flags
from neogpt.cli.study import _common

SHOWN = (
    "recall", "never_asked", "in_context", "how_to", "harmful_refusal", "over_refusal_contrast", "over_refusal_plain",
    "list_format", "list_correct", "stop",
)  # fmt: skip
"""Scores of the exam in the tables; the JSON has all."""


@dataclass(frozen=True)
class Options:
    """What a stage changed: weight differences by component, and hybrids of two stages with their scores.

    A hybrid is the first model with all attention, all MLPs, the embeddings or one layer of the second; its scores in
    the exam of tinyworld say which part carries what the stage taught. Writes changes.html and changes.json.

    examples: neogpt study changes runs/demo/sft runs/demo/dpo        neogpt study changes runs/demo/dpo runs/demo/rl
    """

    models: tyro.conf.Positional[tuple[str, ...]]
    """two models of one shape: the earlier and the later stage."""
    limit: int | None = None
    """questions a cell of the exam; by default all."""
    hybrids: bool = True
    """score the hybrids too (minutes for the whole exam on two cores)."""
    out: Path = Path("changes")
    """folder to write to."""
    device: str = "cpu"
    """cpu, cuda, mps, auto."""
    json: bool = False
    """print the numbers as JSON."""


def run(args: list[str]) -> int:
    """`neogpt study changes BEFORE AFTER`."""
    given = _flags.bare(args, "--json")
    options = tyro.cli(Options, args=given, prog="neogpt study changes")
    _common.need(
        options.models,
        2,
        "models, the earlier and the later stage, are",
        "neogpt study changes runs/demo/sft runs/demo/dpo",
    )
    _common.check_limit(options.limit)
    _study(options, _common.command_line("changes", args))
    return 0


def _study(options: Options, command: str) -> None:
    from neogpt.studies import subjects  # start-up time
    from neogpt.studies.interpretability import changes, tables
    from neogpt.train.device import pick_device

    before, after = subjects.load_all(options.models[:2], pick_device(options.device))
    weights = changes.weight_changes(before.model, after.model)
    scores = changes.hybrid_scores(before, after, options.limit) if options.hybrids else {}
    figures = {
        "command": command,
        "before": before.name,
        "after": after.name,
        "weights": [asdict(change) for change in weights],
        "hybrids": scores,
    }
    rows = [
        [c.name, f"{c.relative:.4f}", "" if c.rank_90 is None else str(c.rank_90),
         "" if c.stable_rank is None else f"{c.stable_rank:.1f}", " × ".join(map(str, c.shape))]
        for c in weights
    ]  # fmt: skip
    heads = ["parameter", "relative change", "rank 90 %", "stable rank", "shape"]
    hybrids = [[name, *(f"{found[key]:.2f}" for key in SHOWN)] for name, found in scores.items()]
    taken = ["taken from the later one", *SHOWN]
    sections = []
    if scores:
        told = (
            f"{before.label} with parts of {after.label}, asked the whole exam. A part that brings a score along "
            "carries it among the others; a score that only `everything` has is carried by several together."
        )
        values = {name: [found[key] for key in SHOWN] for name, found in scores.items()}
        sections.append(tables.section("Hybrids", told, tables.shares(taken, values)))
    told = (
        "Norm of the difference as a share of the earlier weight's; how many directions hold nine tenths of it, and "
        "its stable rank (1: a single direction)."
    )
    sections.append(tables.section("Weights", told, tables.table(heads, rows)))
    lead = f"From {before.label} to {after.label}: how far each weight moved, and which part carries what was taught."
    page = tables.study_page("What a stage changed", lead, sections, command)
    lines = [*_common.columns(heads, rows), "", *(_common.columns(taken, hybrids) if hybrids else [])]
    _common.finish(options.out, "changes", figures, page, options.json, lines)
