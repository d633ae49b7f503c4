"""Where a fact lives: causal tracing over all facts of tinyworld, for one model or stage beside stage."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from neogpt.cli import _flags
from neogpt.cli.study import _common

if TYPE_CHECKING:
    from neogpt.studies.interpretability.tracing import Trace


@dataclass(frozen=True)
class Options:
    """Where a fact lives: causal tracing over all facts of tinyworld, for one model or stage beside stage.

    Each begun sentence is read with another name in it; then one part of the model at one place is put back to what it
    was with the right name. What that brings back of the right answer's probability is told by layer and place, with
    standard errors over the facts. Writes facts.html and facts.json.

    examples: neogpt study facts runs/demo/pretrain
              neogpt study facts runs/demo/pretrain runs/demo/sft runs/demo/dpo runs/demo/rl --corruption noise
    """

    models: tyro.conf.Positional[tuple[str, ...]]
    """runs, checkpoints or Hugging Face directories of models of tinyworld."""
    corruption: Literal["swap", "noise"] = "swap"
    """another person's name, or noise on the name's embedding (Meng et al. 2022)."""
    limit: int | None = None
    """facts at most; by default all."""
    seed: int = 0
    """of the noise."""
    out: Path = Path("facts")
    """folder to write to."""
    device: str = "cpu"
    """cpu, cuda, mps, auto."""
    json: bool = False
    """print the numbers as JSON."""


def run(args: list[str]) -> int:
    """`neogpt study facts MODEL... [--corruption swap|noise]`."""
    given = _flags.bare(args, "--json")
    options = tyro.cli(Options, args=given, prog="neogpt study facts", config=(tyro.conf.FlagCreatePairsOff,))
    _common.need(options.models, 1, "models are", "neogpt study facts runs/demo/pretrain")
    _common.check_limit(options.limit)
    _study(options, _common.command_line("facts", args))
    return 0


def _study(options: Options, command: str) -> None:
    from neogpt.studies import subjects  # start-up time
    from neogpt.studies.interpretability import tracing
    from neogpt.train.device import pick_device

    models = subjects.load_all(options.models, pick_device(options.device))
    found = {
        model.label: tracing.trace(model, options.corruption, options.limit, options.seed) for model in models
    }
    figures = {
        "command": command,
        "corruption": options.corruption,
        "models": {label: _plain(trace) for label, trace in found.items()},
    }
    lines = [line for label, trace in found.items() for line in _lines(label, trace)]
    _common.finish(
        options.out, "facts", figures, _page(found, options.corruption, command), options.json, lines
    )


def _plain(trace: "Trace") -> dict[str, Any]:
    return {
        "facts": trace.n_facts,
        "known": trace.n_known,
        "clean": trace.clean._asdict(),
        "corrupted": trace.corrupted._asdict(),
        "restored": {
            part: {role: value._asdict() for role, value in by_role.items()}
            for part, by_role in trace.restored.items()
        },
    }


def _lines(label: str, trace: "Trace") -> list[str]:
    from neogpt.studies.interpretability.tracing import ROLES  # start-up time

    head = (
        f"{label}: {trace.n_known} of {trace.n_facts} facts known; probability of the true value "
        f"{trace.clean}, with another name {trace.corrupted}; brought back by:"
    )
    rows = [
        [part, *(str(by_role[role]) if role in by_role else "" for role in ROLES)]
        for part, by_role in trace.restored.items()
    ]
    return [head, *_common.columns(["", *ROLES], rows)]


def _page(found: "dict[str, Trace]", corruption: str, command: str) -> str:
    from neogpt.studies.interpretability import tables  # start-up time
    from neogpt.studies.interpretability.tracing import ROLES

    lead = (
        f"What one part of the model at one place brings back of a fact, when the sentence is read with "
        f"{'another name' if corruption == 'swap' else 'noise'} where the person's name stands."
    )
    sections = []
    for label, trace in found.items():
        rows = {
            part: [by_role[role].mean if role in by_role else None for role in ROLES]
            for part, by_role in trace.restored.items()
        }
        told = (
            f"{trace.n_known} of {trace.n_facts} facts are known. The true value has probability {trace.clean} on the "
            f"true sentence, {trace.corrupted} on the corrupted one. Cells are the gain when that part is put back; "
            "resid is the whole stream after a layer. Standard errors are in facts.json."
        )
        sections.append(tables.section(label, told, tables.shares(["", *ROLES], rows)))
    return tables.study_page("Where a fact lives", lead, sections, command)
