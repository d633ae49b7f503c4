"""Preferences about harmful and harmless requests alike: it refuses what harms, and only that."""

import dataclasses

from neogpt.config import AnyRun, EvalConfig, SaveConfig
from neogpt.data.sources import mix
from neogpt.recipes import dpo_red_team

BEST_METRIC = (
    "val/rewards/accuracies/helpful",
    "val/rewards/accuracies/red-team",
    "over_refusal/harmful_refused",
    "over_refusal/harmless_refused:low",
)
"""What says when to stop: held-out pairs ranked rightly, helpful and harmful; refusals of harmful requests, and not of
harmless ones that look alike. The held-out loss goes on falling while a model begins to refuse too much."""


def dpo() -> AnyRun:
    """Red-team pairs beside contrasting requests (`contrasts`) and Dolly's answers preferred to refusals.

    Two helpful pairs stand beside each harmful one, however many of either the files hold (578 are all red-team
    pairs of the sample in NEOGPT_DATA). A refusal has ten tokens where an answer of Dolly's has a hundred, and the SFT
    term counts tokens: so contrasts, whose persons, words and most verbs stand on both sides, are half of all pairs.
    """
    red_team = dpo_red_team.dpo()
    return dataclasses.replace(
        red_team,
        recipe="dpo-balanced",
        steps=400,
        source=mix.Mix(of=("red-team-pairs?rows=578", "contrasts?rows=3000", "dolly?rows=1600")),
        eval=EvalConfig(
            every=50, names=("samples", "over-refusal"), val_samples=256, patience=5, best_metric=BEST_METRIC
        ),
        save=SaveConfig(every=0),
    )
