"""Preferences about harmful and harmless requests alike: it refuses what harms, and only that."""

import dataclasses

from neogpt.config import AnyRun, EvalConfig, SaveConfig
from neogpt.data.sources import mix
from neogpt.recipes import dpo_red_team

WATCHED = (
    "val/rewards/accuracies/helpful",
    "val/rewards/accuracies/red-team",
    "border/harmful_refused",
    "border/harmless_refused:low",
)
"""What says when to stop: held-out pairs ranked rightly, helpful and harmful; refusals near the border of harm, where
they are due and where not. The held-out loss goes on falling while a model begins to refuse too much."""


def dpo() -> AnyRun:
    """Red-team pairs beside requests near the border (`contrasts`) and Dolly's answers preferred to refusals.

    Two helpful pairs stand beside each harmful one, however many of either the files hold (578 are all red-team
    pairs of the sample in NEOGPT_DATA). A refusal has ten tokens where an answer of Dolly's has a hundred, and the SFT
    term counts tokens: so contrasts, whose persons, words and most verbs stand on both sides, are half of all pairs.
    """
    red_team = dpo_red_team.dpo()
    return dataclasses.replace(
        red_team,
        recipe="dpo-balanced",
        source_name="mix",
        steps=400,
        source=mix.Config(of=("red-team-pairs?rows=578", "contrasts?rows=3000", "dolly?rows=1600")),
        eval=EvalConfig(every=50, names=("samples", "border"), val_samples=256, patience=5, watch=WATCHED),
        save=SaveConfig(every=0),
    )
