"""FLOPs, time, money and disk of a whole run."""

from dataclasses import dataclass

from neogpt.config import AnyRun
from neogpt.plan import shape
from neogpt.plan.room import checkpoints_to_come


@dataclass(frozen=True)
class Budget:
    """What a run comes to."""

    steps: int
    tokens: int
    """Trained on."""
    flops: float
    """Of training, all tokens."""
    evaluation_flops: float
    """Of the held-out loss on the way (a forward is a third of a training step); evals are not counted."""
    data_bytes: int
    """Token shards, if the run reads each token once."""
    checkpoint_bytes: int
    """One checkpoint."""
    checkpoints: int
    """That are on the disk at once, at most: those kept, and one being written."""

    def seconds(self, flops_per_second: float) -> float:
        """Time at that speed."""
        return (self.flops + self.evaluation_flops) / flops_per_second


def budget_of(run: AnyRun, optimizer_bytes: int) -> Budget:
    """The figures of a pretraining run whose model has its final vocabulary."""
    length: int = getattr(run.objective, "sequence_tokens")  # noqa: B009 (objectives are not known here)
    a_step = run.batch.size * length
    steps = run.steps or max(1, round(run.tokens / a_step))
    a_token = shape.flops_per_token(run.model, length)
    checks = 2 + (steps - 1) // run.eval.every if run.eval.every else 2
    return Budget(
        steps=steps,
        tokens=steps * a_step,
        flops=float(steps) * a_step * a_token,
        evaluation_flops=checks * run.eval.val_samples * length * a_token / 3,
        data_bytes=2 * steps * a_step,
        checkpoint_bytes=4 * shape.n_params(run.model) + optimizer_bytes,
        checkpoints=checkpoints_to_come([], run.save, 0, steps),
    )
