"""Whether a run's numbers work out: how its batch is cut, who shares it, where it ends. No data is needed."""

from neogpt.config import HORIZONS, AnyRun, BatchConfig
from neogpt.errors import ConfigError


def validate(run: AnyRun, processes: int) -> None:
    """ConfigError for a batch that cannot be cut up or shared by so many processes, or a run without an end."""
    micro_size(run.batch.size, run.batch.micro_batches)
    validate_sharing(run.batch, processes, run.reduction == "exact")
    if run.parallel == "fsdp" and run.reduction == "exact" and processes > 1:
        raise ConfigError(
            "--parallel fsdp sums gradients in an order that depends on the number of processes",
            "--reduction fast, which says so, or --parallel ddp",
            "--parallel fsdp --reduction fast",
            code="config.fsdp_not_exact",
        )
    _validate_horizon(run)


def micro_size(size: int, micro_batches: int) -> int:
    """Samples a micro-batch; ConfigError names the nearest arithmetic that works."""
    if size < 1 or micro_batches < 1:
        raise ConfigError(
            f"batch.size {size} and batch.micro-batches {micro_batches}",
            "whole numbers from 1 up",
            code="config.bad_batch",
        )
    if size % micro_batches:
        valid = [m for m in range(1, size + 1) if size % m == 0]
        near = min(valid, key=lambda m: abs(m - micro_batches))
        larger = -(-size // micro_batches) * micro_batches
        raise ConfigError(
            f"a batch of {size} does not divide into {micro_batches} micro-batches",
            f"batch.micro-batches one of {', '.join(map(str, valid))}, or a batch.size that is their multiple",
            f"--batch.micro-batches {near} or --batch.size {larger}",
            code="config.bad_batch",
        )
    return size // micro_batches


def sharing(batch: BatchConfig, exact: bool = True) -> list[int]:
    """Numbers of processes that can share a step."""
    n = batch.micro_batches
    return [w for w in range(1, n + 1) if fits(n, w, exact)]


def validate_sharing(batch: BatchConfig, processes: int, exact: bool = True) -> None:
    """ConfigError that names the numbers of processes, or of micro-batches, that work."""
    n = batch.micro_batches
    if fits(n, processes, exact):
        return
    cuts = [m for m in range(1, batch.size + 1) if batch.size % m == 0 and fits(m, processes, exact)]
    raise ConfigError(
        f"{n} micro-batches cannot be shared by {processes} processes",
        f"{', '.join(map(str, sharing(batch, exact)))} processes"
        + (f", or {', '.join(map(str, cuts))} micro-batches" if cuts else ""),
        f"--batch.micro-batches {min(cuts, key=lambda m: abs(m - n))}"
        if cuts
        else f"--batch.size {-(-batch.size // processes) * processes} --batch.micro-batches {processes}",
        code="config.too_few_micro_batches",
    )


def _validate_horizon(run: AnyRun) -> None:
    asked = [f"--{name} {getattr(run, name)}" for name in HORIZONS if getattr(run, name)]
    if len(asked) > 1:
        raise ConfigError(
            f"both {' and '.join(asked)} are set",
            "one of them",
            f"{asked[-1]} alone",
            code="config.two_horizons",
        )
    if not asked:
        raise ConfigError(
            "0 steps, 0 tokens and 0 hours", "a horizon", "--steps 1000", code="config.no_horizon"
        )


def fits(micro_batches: int, processes: int, exact: bool = True) -> bool:
    """Whether each process gets as many micro-batches.

    Where the sum is exact each must hold whole subtrees of it (train/parallel/tree.py): alone, or 2^k micro-batches on
    each.
    """
    share, rest = divmod(micro_batches, processes)
    whole = processes == 1 or not exact or share & (share - 1) == 0
    return rest == 0 and share > 0 and whole
