"""When a skill came: head scores, copying and answers from the text, over a run's checkpoints.

Olsson et al. 2022 ("In-context Learning and Induction Heads") saw induction heads form in the few steps in which loss
late in a text drops. In tinyworld both can be measured exactly: news about a stranger is told twice, and only who reads
the first telling can know how the second one ends. Whether those heads do it is asked by switching them off.

L layers, H heads.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from neogpt import ledger
from neogpt.paths import RunDir
from neogpt.studies import subjects, world
from neogpt.studies.interpretability.components import Component, heads
from neogpt.studies.interpretability.generation import likeliest
from neogpt.studies.interpretability.heads import HeadScores, next_token_losses, repeats, scores_on
from neogpt.studies.interpretability.lens import decision_depth, lens_readings
from neogpt.studies.interpretability.weight_edits import without
from neogpt.studies.statistics import Estimate, estimate
from neogpt.studies.subjects import Subject

REPEAT_ROWS = 32
REPEAT_TOKENS = 96
RUMOURS = 400
DEPTH_FACTS = 200
CONTROLS = 10
"""Random sets of as many heads, switched off for comparison."""
INDUCTION_SCORE = 0.2
"""An induction head scores at least this; a head that looks everywhere alike scores below 0.1."""


@dataclass(frozen=True)
class Moment:
    """What a checkpoint can do; shares are between 0 and 1, losses in nats."""

    step: int
    scores: HeadScores
    copying: float
    """Loss of random tokens read the first time, less that of their repeats."""
    from_context: float
    """Share of rumours that it ends rightly from their first telling."""
    context_gain: float
    """Loss of the value in the first telling, where it must be guessed, less that in the second."""
    recall: float
    """Share of facts that it ends rightly."""
    depth: float
    """Mean number of layers after which its own answer about a fact is settled."""
    loss: float
    """The run's training loss at this step; NaN where the ledger has none."""

    def row(self) -> dict[str, float]:
        """The numbers of a table."""
        best = {
            name: float(getattr(self.scores, name).max()) for name in ("previous", "duplicate", "induction")
        }
        own = ("copying", "from_context", "context_gain", "recall", "depth", "loss")
        return {"step": self.step, **best, **{name: getattr(self, name) for name in own}}


def moments(
    run: str | Path, limit: int | None = None, tell: Callable[[Moment], None] = lambda moment: None
) -> list[Moment]:
    """One `Moment` for each checkpoint of a run in tinyworld, lowest step first; `limit`: facts and rumours.

    Errors: ConfigError: study.no_checkpoints, study.needs_tinyworld.
    """
    losses = {row["step"]: row["loss"] for row in ledger.read(RunDir(Path(run)).metrics) if "loss" in row}
    found = []
    for step, folder in subjects.checkpoints(run):
        moment = _moment(subjects.load(str(folder)), step, float(losses.get(step, math.nan)), limit)
        tell(moment)
        found.append(moment)
    return found


def _moment(subject: Subject, step: int, loss: float, limit: int | None) -> Moment:
    model, config = subject.model, world.config_of(subject)
    length = min(model.config.n_positions, REPEAT_TOKENS)
    tokens_BT = repeats(model, REPEAT_ROWS, length, eot_id=subject.tokenizer.eot_id)
    told = world.rumours(subject.tokenizer, config, limit or RUMOURS)
    return Moment(
        step=step,
        scores=scores_on(model, tokens_BT),
        copying=_copying(model, tokens_BT),
        from_context=_ended(model, told),
        context_gain=_context_gain(model, told),
        recall=world.cloze_recall(subject, limit=limit),
        depth=_depth(subject, limit or DEPTH_FACTS),
        loss=loss,
    )


def _copying(model: Any, tokens_BT: torch.Tensor) -> float:
    """First reading less repeats: whether token t + 1 has stood earlier in its row."""
    losses_BT = next_token_losses(model, tokens_BT)
    again_BT = (tokens_BT[:, :, None] == tokens_BT[:, None, :]).tril(-1).any(-1)[:, 1:]
    return float(losses_BT[~again_BT].mean() - losses_BT[again_BT].mean())


def _ended(model: Any, told: Sequence[world.Rumour]) -> float:
    return world.share_ending([r.value for r in told], likeliest(model, [r.second for r in told]))


def _context_gain(model: Any, told: Sequence[world.Rumour]) -> float:
    first, second = (
        estimate([_loss_of(model, getattr(r, part), r.value) for r in told]) for part in ("first", "second")
    )
    return first.mean - second.mean


def _loss_of(model: Any, begun: list[int], value: int) -> float:
    tokens_1T = torch.tensor([[*begun, value]], device=model.device)
    return float(next_token_losses(model, tokens_1T)[0, -1])


def _depth(subject: Subject, limit: int) -> float:
    """Of each begun fact, the layer after which the model's own last answer stays."""
    depths = []
    for fact in world.facts(subject.tokenizer, world.config_of(subject))[:limit]:
        (own,) = likeliest(subject.model, [fact.begun])
        tokens_1T = torch.tensor([fact.begun], device=subject.model.device)
        last = [len(fact.begun) - 1]
        targets_11 = torch.tensor([[own]], device=subject.model.device)
        depths.append(
            decision_depth(lens_readings(subject.model, tokens_1T, targets_11, 1, last).target_ranks[:, 0, 0])
        )
    return estimate(depths).mean


def half_step(steps: Sequence[int], values: Sequence[float]) -> float:
    """Where a growing measure passes half of the way from its first value to its highest, between two checkpoints.

    Linear between the two; NaN where it never grows. Ties go to the earliest.
    """
    low, high = values[0], max(values)
    if not high > low:
        return math.nan
    middle = (low + high) / 2
    after = next(i for i, value in enumerate(values) if value >= middle)
    before = after - 1
    share = (middle - values[before]) / (values[after] - values[before])
    return steps[before] + share * (steps[after] - steps[before])


@dataclass(frozen=True)
class HeadsOff:
    """What is left of two skills without the induction heads, and without as many others."""

    induction_heads: list[str]
    """Those that score at least INDUCTION_SCORE; without any, nothing is switched off."""
    whole: dict[str, float]
    without_induction: dict[str, float]
    without_others: dict[str, Estimate]
    """Over CONTROLS random sets of as many other heads, or of all others where there are fewer."""


def heads_off(subject: Subject, limit: int | None = None, seed: int = 0) -> HeadsOff:
    """Switch the induction heads off (zero ablation), and as many heads drawn at random, and ask again."""
    model, config = subject.model, world.config_of(subject)
    told = world.rumours(subject.tokenizer, config, limit or RUMOURS)
    strong = _induction_heads(subject, seed)

    def skills(off: Sequence[Component]) -> dict[str, float]:
        edited = without(model, off)
        recall = world.cloze_recall(subject, edited, limit)
        return {"from_context": _ended(edited, told), "recall": recall}

    if not strong:
        return HeadsOff([], skills(()), {}, {})
    others = [component for component in heads(model) if component not in strong]
    dice = random.Random(seed)
    drawn = [skills(dice.sample(others, min(len(strong), len(others)))) for _ in range(CONTROLS)]
    return HeadsOff(
        [str(component) for component in strong],
        skills(()),
        skills(strong),
        {name: estimate([found[name] for found in drawn]) for name in drawn[0]},
    )


def _induction_heads(subject: Subject, seed: int) -> list[Component]:
    model = subject.model
    length = min(model.config.n_positions, REPEAT_TOKENS)
    scores_LH = scores_on(
        model, repeats(model, REPEAT_ROWS, length, seed, eot_id=subject.tokenizer.eot_id)
    ).induction
    return [c for c in heads(model) if float(scores_LH[c.layer or 0, c.head or 0]) >= INDUCTION_SCORE]
