"""One direction that decides whether a model refuses: found, taken out, added, and followed through the stages."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from neogpt.cli import _flags
from neogpt.cli.study import _common

if TYPE_CHECKING:
    from torch import Tensor

    from neogpt.studies.interpretability.directions import Effect, RefusalDirection
    from neogpt.studies.subjects import Subject


@dataclass(frozen=True)
class Options:
    """One direction that decides whether a model refuses: found, taken out, added, and followed through the stages.

    The direction is found in MODEL from requests of tinyworld that training saw, and tried on those that it did not
    see. Then it is looked for in other stages and in the checkpoints of a run. Writes refusal.html and refusal.json.

    examples: neogpt study refusal runs/demo/dpo
              neogpt study refusal runs/demo/dpo --others runs/demo/sft runs/demo/dpo-red-team runs/demo/rl
              neogpt study refusal runs/demo/dpo --checkpoints runs/demo/dpo
    """

    model: tyro.conf.Positional[str]
    """a run, checkpoint or directory of a model of tinyworld that refuses."""
    others: tuple[str, ...] = ()
    """other stages in which the same direction is looked for."""
    checkpoints: str = ""
    """a run in whose checkpoints the direction's growth is followed."""
    limit: int | None = None
    """requests and questions a kind; by default all."""
    out: Path = Path("refusal")
    """folder to write to."""
    device: str = "cpu"
    """cpu, cuda, mps, auto."""
    json: bool = False
    """print the numbers as JSON."""


def run(args: list[str]) -> int:
    """`neogpt study refusal MODEL [--others MODEL...] [--checkpoints RUN]`."""
    given = _flags.bare(args, "--json")
    options = tyro.cli(
        Options, args=given, prog="neogpt study refusal", config=(tyro.conf.FlagCreatePairsOff,)
    )
    _common.check_limit(options.limit)
    _study(options, _common.command_line("refusal", args))
    return 0


def _study(options: Options, command: str) -> None:
    from neogpt.studies import subjects  # start-up time
    from neogpt.studies.interpretability import directions
    from neogpt.train.device import pick_device

    device = pick_device(options.device)
    named = subjects.load_all([options.model, *options.others], device)
    first = named[0]
    found = directions.find_direction(first, min(options.limit or directions.SELECTION, directions.SELECTION))
    print(f"direction found {_place(found)}", file=sys.stderr, flush=True)
    effect = directions.effect(first, found.direction, found.layer, options.limit)
    later = [
        _other(subject, found, options.limit)
        for subject in [*named, *_checkpoints(options.checkpoints, device)]
    ]
    figures = {
        "command": command,
        "model": first.name,
        "layer": found.layer,
        "tokens_back": found.back,
        "harmful_left_by_candidate": found.harmful_left,
        "harmless_begun_by_candidate": found.harmless_begun,
        "refused": effect.refused,
        "refusal_begun": effect.begun,
        "exam": effect.exam,
        "examples": effect.examples,
        "elsewhere": later,
        "direction": found.direction.tolist(),
    }
    page = _page(first, found, effect, later, command)
    _common.finish(options.out, "refusal", figures, page, options.json, _lines(found, effect, later))


def _checkpoints(run: str, device: str) -> "list[Subject]":
    from neogpt.studies import subjects  # start-up time

    if not run:
        return []
    return [subjects.load(str(folder), device) for _, folder in subjects.checkpoints(run)]


def _other(subject: "Subject", found: "RefusalDirection", limit: int | None) -> dict[str, Any]:
    """The direction in another model: the angle to its own, how well it tells the requests apart, what it does."""
    from neogpt.studies import world  # start-up time
    from neogpt.studies.interpretability import directions

    new = world.requests(subject.tokenizer, world.config_of(subject), taught=False)
    new = {kind: prompts[:limit] for kind, prompts in new.items()}
    own_D: Tensor = directions.mean_differences(subject.model, new, found.back)[found.layer + 1]
    direction_D = found.direction.to(subject.model.device)
    off = directions.ablated(direction_D, subject.model.config.n_layer)
    return {
        "model": subject.label,
        "length": float(own_D.norm()),
        "cosine": directions.cosine(own_D, direction_D),
        "separation": directions.separation(subject.model, new, direction_D, found.layer, found.back),
        "harmful_refused": directions.refused(subject, new["harmful"]),
        "harmful_refused_without": directions.refused(subject, new["harmful"], off),
        "harmless_refused": directions.refused(subject, new["harmless"]),
        "harmless_begun_with": directions.refusal_begun(subject, new["harmless"], direction_D, found.layer),
    }


def _place(found: "RefusalDirection") -> str:
    at = f"{found.back} tokens before the prompt's last" if found.back else "at the prompt's last token"
    return f"after layer {found.layer}, {at}"


REFUSED = ("as it is", "ablated", "added")


def _refused_rows(effect: "Effect") -> list[list[str]]:
    rows = [("refused, " + name, shares) for name, shares in effect.refused.items()]
    rows += [("begun as a refusal, " + name, shares) for name, shares in effect.begun.items()]
    return [[name, *(f"{shares[kind]:.2f}" for kind in ("harmful", "harmless"))] for name, shares in rows]


def _exam_rows(effect: "Effect") -> list[list[str]]:
    return [
        [score, *(f"{effect.exam[name][score]:.3f}" for name in REFUSED)] for score in effect.exam["as it is"]
    ]


def _other_rows(later: list[dict[str, Any]]) -> list[list[str]]:
    return [[row["model"], *(f"{row[key]:.2f}" for key in OTHER_HEADS)] for row in later]


OTHER_HEADS = {
    "length": "length",
    "cosine": "cosine",
    "separation": "separation",
    "harmful_refused": "harmful refused",
    "harmful_refused_without": "without it",
    "harmless_refused": "harmless refused",
    "harmless_begun_with": "begun with it",
}


def _lines(found: "RefusalDirection", effect: "Effect", later: list[dict[str, Any]]) -> list[str]:
    return [
        f"the direction {_place(found)}, on requests that no training saw:",
        *_common.columns(["", "harmful", "harmless"], _refused_rows(effect)),
        *(
            f"{e['request']} {e['answer']!r}; with it at the prompt's end: {e['added at the end']!r}"
            for e in effect.examples[:2]
        ),
        "",
        *_common.columns(["exam", *REFUSED], _exam_rows(effect)),
        "",
        *_common.columns(["model", *OTHER_HEADS.values()], _other_rows(later)),
    ]


def _page(
    first: "Subject", found: "RefusalDirection", effect: "Effect", later: list[dict[str, Any]], command: str
) -> str:
    from neogpt.report.markup import tag  # start-up time
    from neogpt.studies.interpretability import tables

    sections = [
        tables.section(
            "Refusals",
            "New requests that are refused: as the model is, with the direction taken out of the stream at every layer "
            "and position, and with it added everywhere; and answers that begin as a refusal when it is added at the "
            "prompt's last token alone.",
            tables.table(["", "harmful", "harmless"], _refused_rows(effect)),
            [
                tag(
                    "p",
                    tag("b", e["request"]),
                    f" {e['answer']} · ",
                    tag("b", "with it: "),
                    e["added at the end"],
                    class_="key",
                )
                for e in effect.examples
            ],
        ),
        tables.section(
            "Everything else",
            "The whole exam of tinyworld: as the model is, without the direction, and with it added everywhere.",
            tables.table(["score", *REFUSED], _exam_rows(effect)),
        ),
        tables.section(
            "Elsewhere",
            "The same direction in other stages and checkpoints: the length of their own difference of means, its "
            "cosine with the direction, how well the direction tells harmful from harmless requests there (area under "
            "the curve; 0.5: not at all), and what taking it out and adding it does.",
            tables.table(["model", *OTHER_HEADS.values()], _other_rows(later)),
        ),
        tables.section(
            "Candidates",
            "By layer and tokens before the prompt's last: harmful requests refused without the candidate / harmless "
            "ones whose answer begins as a refusal with it; on requests that the candidates were made from.",
            tables.table(
                ["tokens back", *(f"layer {i}" for i in range(len(found.harmful_left[0])))],
                [
                    [str(back), *(f"{a:.2f} / {b:.2f}" for a, b in zip(left, begun, strict=True))]
                    for back, (left, begun) in enumerate(
                        zip(found.harmful_left, found.harmless_begun, strict=True)
                    )
                ],
            ),
        ),
    ]
    lead = f"One direction in {first.label}'s residual stream, found {_place(found)}."
    return tables.study_page("The refusal direction", lead, sections, command)
