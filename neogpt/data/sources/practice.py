"""For learning by reward on real text: requests with a form asked for, and good answers to rehearse beside them."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from neogpt.config import SourceConfig
from neogpt.data.response_formats import ask, asked, form_of
from neogpt.data.sources import mix
from neogpt.data.split import held_out, opening
from neogpt.records import Instruction, Pair, Quarantine


@dataclass(frozen=True, kw_only=True)
class Config(SourceConfig):
    """Two mixes: whose requests are practised, and whose preferred answers are rehearsed."""

    of: tuple[str, ...] = ("dolly",)
    """Sources of the requests, each as NAME or NAME?setting=value&weight=2 (see the source `mix`)."""
    rehearse: tuple[str, ...] = ("red-team-pairs?rows=578", "contrasts?rows=500", "dolly?rows=3750")
    """Sources of pairs whose chosen answers are rehearsed, so that refusals and helpfulness stay, in the same balance
    whatever the size of the files."""
    examined: float = 0.05
    """Share of requests kept out of practice in every form, chosen by the hash that holds them out of SFT too;
    `neogpt eval formats` asks these."""


def parts(config: Config) -> list[str]:
    """The files of all sources."""
    return [file for texts in (config.of, config.rehearse) for file in mix.parts(mix.Config(of=texts))]


def prompts(config: Config, bad: Quarantine) -> Iterator[Instruction]:
    """Single requests without a context, each with the form that it asks for or one that is put behind it."""
    for item in mix.instructions(mix.Config(of=config.of), bad):
        if is_bare(item) and not held_out(opening(item), config.examined):
            form = "" if asked(item.instruction) else form_of(item.instruction)
            text = ask(item.instruction, form) if form else item.instruction
            yield dataclasses.replace(item, instruction=text, response="")


def instructions(config: Config, bad: Quarantine) -> Iterator[Instruction]:
    """The same kind of requests as their source has them, with people's answers: the measure of good prose."""
    return filter(is_bare, mix.instructions(mix.Config(of=config.of), bad))


def pairs(config: Config, bad: Quarantine) -> Iterator[Pair]:
    """What is rehearsed: the preferred answers of `rehearse`."""
    return mix.pairs(mix.Config(of=config.rehearse), bad)


def is_bare(item: Instruction) -> bool:
    """Whether the request says all there is: no text that it is about, no turns before."""
    return not item.context and not item.history
