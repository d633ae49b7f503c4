"""The whole plan of a pretraining run: model, run, memory, and what each device makes of it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from neogpt import batching, hardware
from neogpt.config import AnyRun
from neogpt.errors import ConfigError
from neogpt.model import sizes
from neogpt.plan.budget import Budget, Data, budget_of
from neogpt.plan.devices import Device
from neogpt.plan.memory import Memory, Work, copy_bytes, fewest_micro_batches, memory_of, optimizer_bytes

BASE_BYTES = {"cuda": 900_000_000, "cpu": 400_000_000}
"""The framework itself, assumed: a CUDA context with cuBLAS's workspace; the interpreter with torch."""
WASTE = 1.05
"""Assumed: what an allocator takes beside what was asked for."""


@dataclass(frozen=True)
class OnDevice:
    """What some number of one device makes of a run."""

    device: str
    gpus: int
    fits: bool
    """As the recipe cuts its batch."""
    micro_batches: int
    """The fewest that fit, of all processes; 0 when none does."""
    micro_batches_checkpointed: int
    """The same with activation checkpointing."""
    tokens_per_s: float
    seconds: float
    dollars: float
    mfu: float
    mfu_source: str
    dollars_per_hour: float


@dataclass(frozen=True)
class Plan:
    """Everything that `neogpt plan` says, in numbers."""

    recipe: str
    model: dict[str, int]
    params: int
    flops_per_token: int
    attention_share: float
    """Of the FLOPs."""
    budget: Budget
    data: Data | None
    """What preparing the run's source puts on the disk; None where its size is not known."""
    batch: int
    micro_batches: int
    length: int
    processes: int
    sharing: list[int]
    """Numbers of processes that can share a step."""
    dtype: str
    optimizer: str
    layout: str
    """How processes share weights and sums."""
    base_bytes: int
    copy_bytes: int
    """Of the host's memory, for saves in the background."""
    memory: Memory
    memory_checkpointed: Memory
    devices: list[OnDevice]


def plan(run: AnyRun, devices: Sequence[Device], gpus: int, data: Data | None = None) -> Plan:
    """The plan of `run` on each device; the memory is that of the first. Errors: ConfigError, bad arithmetic."""
    length = seq_len(run)
    _validate(run, gpus)
    budget = budget_of(run, optimizer_bytes(_work(run, devices[0], gpus)))
    first = _work(run, devices[0], gpus)
    flops = sizes.flops_per_token(run.model, length)
    return Plan(
        recipe=run.recipe,
        model=dataclasses.asdict(run.model),
        params=sizes.n_params(run.model),
        flops_per_token=flops,
        attention_share=sizes.attention_flops_per_token(run.model, length) / flops,
        budget=budget,
        data=data,
        batch=run.batch.size,
        micro_batches=run.batch.micro_batches,
        length=length,
        processes=gpus,
        sharing=batching.sharing(run.batch, run.reduction == "exact"),
        dtype=first.dtype,
        optimizer=run.optim.name,
        layout=f"{first.parallel}, {run.reduction} sums",
        copy_bytes=copy_bytes(first) if first.copy else 0,
        base_bytes=BASE_BYTES[first.device],
        memory=memory_of(dataclasses.replace(first, checkpointing=False)),
        memory_checkpointed=memory_of(dataclasses.replace(first, checkpointing=True)),
        devices=[_on(run, device, gpus, budget) for device in devices],
    )


def seq_len(run: AnyRun) -> int:
    """Tokens of a training sequence; ConfigError for a stage where that is not fixed."""
    length = getattr(run.objective, "seq_len", None)
    if not isinstance(length, int):
        raise ConfigError(
            f"{run.stage} has no fixed number of tokens a step",
            "a pretraining recipe",
            code="plan.no_fixed_tokens",
        )
    return length


def _validate(run: AnyRun, gpus: int) -> None:
    if run.hours:
        raise ConfigError(
            f"--hours {run.hours:g} become steps when the run is timed, so a plan cannot know how many",
            "--steps or --tokens",
            "--tokens 10000000000",
            code="plan.hours_unknown",
        )
    batching.validate(run, gpus)


def _speed(device: Device, gpus: int) -> float:
    """FLOP/s that are assumed to be reached."""
    return device.peak_flops * device.mfu * (hardware.cores() if device.name == "cpu" else gpus)


def _work(run: AnyRun, device: Device, gpus: int) -> Work:
    kind = "cpu" if device.name == "cpu" else "cuda"
    native = kind == "cuda" or hardware.multiplies_bfloat16()
    dtype = run.dtype if run.dtype != "auto" else "bfloat16" if native else "float32"
    return Work(
        model=run.model,
        rows=run.batch.size // run.batch.micro_batches,
        length=seq_len(run),
        micro_batches=run.batch.micro_batches // gpus,
        processes=gpus,
        optimizer=run.optim.name,
        dtype=dtype,
        device=kind,
        reduction=run.reduction,
        parallel=run.parallel if gpus > 1 else "ddp",
        checkpointing=run.activation_checkpointing,
        copy=_copy(run),
    )


def _copy(run: AnyRun) -> Literal["", "at the end", "on the way"]:
    """When a save in the background first makes its copy."""
    if not run.save.background:
        return ""
    return "on the way" if run.save.every and (not run.steps or run.save.every < run.steps) else "at the end"


def _on(run: AnyRun, device: Device, gpus: int, budget: Budget) -> OnDevice:
    work, size = _work(run, device, gpus), run.batch.size
    whole = device.memory_bytes or hardware.ram_bytes() // gpus
    limit = (whole - BASE_BYTES[work.device]) / WASTE
    speed = _speed(device, gpus)
    seconds = budget.seconds(speed)
    return OnDevice(
        device=device.name,
        gpus=gpus,
        fits=memory_of(work).peak <= limit,
        micro_batches=fewest_micro_batches(dataclasses.replace(work, checkpointing=False), size, limit),
        micro_batches_checkpointed=fewest_micro_batches(
            dataclasses.replace(work, checkpointing=True), size, limit
        ),
        tokens_per_s=budget.tokens / budget.flops * speed,
        seconds=seconds,
        dollars=seconds / 3600 * gpus * device.dollars_per_hour,
        mfu=device.mfu,
        mfu_source=device.mfu_source,
        dollars_per_hour=device.dollars_per_hour,
    )
