"""Preferences about harmful and harmless requests alike: it refuses what harms, and only that."""

import dataclasses

from neogpt.config import AnyRun
from neogpt.data.sources import mix
from neogpt.recipes import dpo_red_team


def dpo() -> AnyRun:
    """Red-team pairs beside requests near the border (`contrasts`) and Dolly's answers preferred to refusals.

    About two helpful pairs stand beside each harmful one; the same verbs stand on both sides.
    """
    red_team = dpo_red_team.dpo()
    return dataclasses.replace(
        red_team,
        recipe="dpo-balanced",
        source_name="mix",
        steps=300,
        source=mix.Config(of=("red-team-pairs", "contrasts", "dolly?weight=0.08")),
        objective=dataclasses.replace(red_team.objective, sft=0.2),  # type: ignore[call-arg]
    )
