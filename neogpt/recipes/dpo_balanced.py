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

    About two helpful pairs stand beside each harmful one, however many of either the files hold (578 are all red-team
    pairs of the sample in NEOGPT_DATA); the same verbs stand on both sides.
    """
    red_team = dpo_red_team.dpo()
    return dataclasses.replace(
        red_team,
        recipe="dpo-balanced",
        source_name="mix",
        steps=300,
        source=mix.Config(of=("red-team-pairs?rows=578", "contrasts", "dolly?rows=1200")),
        objective=dataclasses.replace(red_team.objective, sft=0.2),  # type: ignore[call-arg]
        eval=EvalConfig(every=30, names=("samples", "border"), val_samples=256, patience=5, watch=WATCHED),
        save=SaveConfig(every=0),
    )
