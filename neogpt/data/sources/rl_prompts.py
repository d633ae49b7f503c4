"""RL prompts on real text: requests that ask for a response format, and good answers for the SFT mix-in."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from neogpt.data.response_formats import ask, asked, format_of
from neogpt.data.source import HasInstructions, HasPairs, HasPrompts
from neogpt.data.sources import mix
from neogpt.data.split import held_out, opening
from neogpt.records import Instruction, Pair, RowStats


@dataclass(frozen=True, kw_only=True)
class RLPrompts(HasPrompts, HasInstructions, HasPairs):
    """Two mixes: one gives the prompts, the other the answers of the SFT mix-in."""

    of: tuple[str, ...] = ("dolly",)
    """Sources of the requests, each as NAME or NAME?setting=value&weight=2 (see the source `mix`)."""
    sft_of: tuple[str, ...] = ("red-team-pairs?rows=578", "contrasts?rows=500", "dolly?rows=3750")
    """Sources of pairs whose chosen answers the SFT mix-in takes, so that refusals and helpfulness stay, in the same
    balance whatever the size of the files."""
    examined: float = 0.05
    """Share of requests kept out of RL in every format, chosen by the hash that holds them out of SFT too;
    `neogpt eval formats` asks these."""

    def parts(self) -> list[str]:
        """The files of all sources."""
        return [file for texts in (self.of, self.sft_of) for file in mix.Mix(of=texts).parts()]

    def prompts(self, bad: RowStats) -> Iterator[Instruction]:
        """Single requests without a context, each with the form that it asks for or one that is put behind it."""
        for item in mix.Mix(of=self.of).instructions(bad):
            if is_bare(item) and not held_out(opening(item), self.examined):
                form = "" if asked(item.instruction) else format_of(item.instruction)
                text = ask(item.instruction, form) if form else item.instruction
                yield dataclasses.replace(item, instruction=text, response="")

    def instructions(self, bad: RowStats) -> Iterator[Instruction]:
        """The same kind of requests as their source has them, with people's answers: the measure of good prose."""
        return filter(is_bare, mix.Mix(of=self.of).instructions(bad))

    def pairs(self, bad: RowStats) -> Iterator[Pair]:
        """The SFT mix-in: the preferred answers of `sft_of`."""
        return mix.Mix(of=self.sft_of).pairs(bad)


def is_bare(item: Instruction) -> bool:
    """Whether the request says all there is: no text that it is about, no turns before."""
    return not item.context and not item.history
