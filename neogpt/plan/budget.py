"""FLOPs, time, money and disk of a whole run."""

from dataclasses import dataclass

from neogpt.config import AnyRun
from neogpt.model import sizes
from neogpt.retention import checkpoints_to_come


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
    """Token shards that the run reads, if it reads each token once; what is prepared may be more (`Data`)."""
    checkpoint_bytes: int
    """One checkpoint."""
    checkpoints: int
    """That are on the disk at once, at most: those kept, and one being written."""

    def seconds(self, flops_per_second: float) -> float:
        """Time at that speed."""
        return (self.flops + self.evaluation_flops) / flops_per_second


@dataclass(frozen=True)
class Data:
    """What preparing a whole source puts on the disk, about, whatever a run reads of it."""

    tokens: int
    download_bytes: int
    """The source's files, which stay unless --keep-files is False."""

    @property
    def shard_bytes(self) -> int:
        """Two bytes a token."""
        return 2 * self.tokens

    @property
    def peak_bytes(self) -> int:
        """Shards, the parts that they are shuffled from, and the files."""
        return 2 * self.shard_bytes + self.download_bytes


def budget_of(run: AnyRun, optimizer_bytes: int) -> Budget:
    """The figures of a pretraining run whose model has its final vocabulary."""
    length: int = getattr(run.objective, "seq_len")  # noqa: B009 (objectives are not known here)
    a_step = run.batch.size * length
    steps = run.steps or max(1, round(run.tokens / a_step))
    a_token = sizes.flops_per_token(run.model, length)
    checks = 2 + (steps - 1) // run.eval.every if run.eval.every else 2
    return Budget(
        steps=steps,
        tokens=steps * a_step,
        flops=float(steps) * a_step * a_token,
        evaluation_flops=checks * run.eval.val_samples * length * a_token / 3,
        data_bytes=2 * steps * a_step,
        checkpoint_bytes=4 * sizes.n_params(run.model) + optimizer_bytes,
        checkpoints=checkpoints_to_come([], run.save, 0, steps),
    )
