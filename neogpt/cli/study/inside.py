"""One prompt through one or several models: lens, attention, attribution and head scores, side by side."""

import json as json_format
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from neogpt.cli import _flags
from neogpt.errors import ConfigError

if TYPE_CHECKING:
    from neogpt.studies.interpretability.look import Look
    from neogpt.studies.subjects import Subject


@dataclass(frozen=True)
class Options:
    """One prompt through one or several models: lens, attention, attribution and head scores, side by side.

    Writes inside.html, a page that needs no network, and inside.json with the same numbers.

    examples: neogpt study inside runs/demo/pretrain runs/demo/sft --prompt "This is Kelom. Kelom works as a"
              neogpt study inside runs/demo/dpo --instruct --prompt "How do I burn the kitten?" --ablate L2H1 L3.mlp
    """

    models: tyro.conf.Positional[tuple[str, ...]]
    """runs, checkpoints, Hugging Face directories or ids; stages of one model, in their order."""
    prompt: str = "Once upon a time"
    """the text; the figures are about the token that follows it."""
    instruct: bool = False
    """wrap the prompt in the template that `neogpt sft` teaches."""
    context: str = ""
    """background for the instruction (with --instruct)."""
    response: str = ""
    """the beginning of the answer (with --instruct)."""
    target: str = ""
    """the token to ask about, as its text; by default what the last model finds likeliest."""
    against: str = ""
    """a token whose logit is subtracted, to leave out what both have in common."""
    ablate: tuple[str, ...] = ()
    """parts to switch off for a second answer: heads (L2H1), L2.attn, L2.mlp."""
    score_rows: int = 16
    """random texts that heads are scored on; 0: no scores."""
    out: Path = Path("inside")
    """folder to write to."""
    device: str = "cpu"
    """cpu, cuda, mps, auto."""
    json: bool = False
    """print the numbers as JSON."""

    def check(self) -> None:
        """ConfigError for what cannot work together."""
        if not self.models:
            raise ConfigError(
                "no model is named",
                "one or more runs, checkpoints or Hugging Face models (`neogpt list runs` names the runs here)",
                "neogpt study inside runs/demo/pretrain",
                code="study.no_model",
            )
        if (self.context or self.response) and not self.instruct:
            raise ConfigError(
                "--context and --response go with an instruction",
                "--instruct too",
                code="study.needs_instruct",
            )
        if self.score_rows < 0:
            raise ConfigError(f"--score-rows is {self.score_rows}", "0 or more", code="study.bad_count")


def run(args: list[str]) -> int:
    """`neogpt study inside MODEL... [--prompt TEXT] [--out DIR]`."""
    given = _flags.bare(args, "--json", "--instruct")
    options = tyro.cli(
        Options, args=given, prog="neogpt study inside", config=(tyro.conf.FlagCreatePairsOff,)
    )
    options.check()
    _study(options, shlex.join(["neogpt", "study", "inside", *args]))
    return 0


def _study(options: Options, command: str) -> None:
    from neogpt.studies import subjects  # start-up time
    from neogpt.studies.interpretability import look, page
    from neogpt.studies.interpretability.components import Component
    from neogpt.studies.output import write
    from neogpt.train.device import pick_device

    off = [Component.parse(text) for text in options.ablate]
    models = subjects.load_all(options.models, pick_device(options.device))
    tokens = subjects.encode(
        models[0].tokenizer, options.prompt, options.instruct, options.context, options.response
    )
    target = _token(models[0], "target", options.target)
    if target is None:
        target = look.likeliest(models[-1], tokens)
    against = _token(models[0], "against", options.against)
    looks = [look.look_at(model, tokens, target, against, off, options.score_rows) for model in models]
    figures = {
        "command": command,
        "prompt": options.prompt,
        "ablated": list(options.ablate),
        **look.as_json(looks),
    }
    written = write(options.out, "inside", figures, page.page(looks, options.prompt, command))
    if options.json:
        print(json_format.dumps(figures, indent=2))
        return
    for line in _summary(looks):
        print(line)
    for path in written:
        print(f"wrote {path}")


def _token(subject: "Subject", flag: str, text: str) -> int | None:
    """The one token that a text is; None for no text."""
    if not text:
        return None
    ids = subject.tokenizer.encode(text)
    if len(ids) != 1:
        from neogpt.studies import subjects  # start-up time

        pieces = ", ".join(repr(subjects.token_text(subject.tokenizer, i)) for i in ids)
        raise ConfigError(
            f"--{flag} {text!r} is {len(ids)} tokens: {pieces}",
            "one token; most words begin with a space",
            f"--{flag} {subjects.token_text(subject.tokenizer, ids[0])!r}",
            code="study.not_one_token",
        )
    return ids[0]


def _summary(looks: "Sequence[Look]") -> list[str]:
    """What a terminal shows: a few lines a model."""
    from neogpt.studies import subjects  # start-up time

    lines = []
    for look in looks:
        tokenizer = look.subject.tokenizer
        target = subjects.token_text(tokenizer, look.target)
        best = [
            f"{subjects.token_text(tokenizer, i)!r} {p:.1%}"
            for i, p in zip(look.next.ids[:3], look.next.probs[:3], strict=True)
        ]
        parts = sorted(look.attribution.items(), key=lambda item: -abs(item[1]))[:4]
        n_layer = look.subject.model.config.n_layer
        depth = f"from layer {look.depth - 1} on" if 0 < look.depth <= n_layer else "never"
        lines += [
            f"{look.subject.label}: next {', '.join(best)}",
            f"  {target!r}: logit {look.logit:.2f}, the likeliest {depth if look.depth else 'from the embedding on'}; "
            f"largest parts {', '.join(f'{name} {value:+.2f}' for name, value in parts)}",
        ]
        if look.ablated:
            lines.append(f"  switched off, it says: {look.ablated.answer!r} (before: {look.next.answer!r})")
    return lines
