"""Batches made ahead, and steps that the host does not wait for: equal bits, and who reads from the device when."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_resume_here import at_step, killed
from training import different, outcome, probe, start_of, tiny

from neogpt import optim
from neogpt.config import OptimConfig
from neogpt.errors import DivergedError
from neogpt.objectives.pretrain.objective import Pretrain
from neogpt.train import loop
from neogpt.train.batches import BatchQueue
from neogpt.train.loop import Loop
from neogpt.train.parallel.distributed import World
from neogpt.train.run import train

READS = ("item", "tolist", "__float__", "__int__", "__bool__", "cpu", "numpy", "nonzero", "is_nonzero")
"""With which a host reads a number from a tensor: on a GPU each waits for all work before it."""
EVALS = ("--eval.every", "0", "--save.every", "0")


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of a GPU, on this processor: rows are written by the clock, which stands."""
    monkeypatch.setattr(World, "runs_ahead", property(lambda world: True))
    monkeypatch.setattr(loop, "_READ_EVERY_S", 1e9)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often each step, from its first to its last line, reads from a tensor."""
    counts: list[int] = []
    inside = [False]

    def counted(name: str) -> Callable[..., Any]:
        read = getattr(torch.Tensor, name)

        def reading(self: torch.Tensor, *args: Any, **options: Any) -> Any:
            if inside[0] and threading.current_thread() is threading.main_thread():
                counts[-1] += 1
            return read(self, *args, **options)

        return reading

    for name in READS:
        monkeypatch.setattr(torch.Tensor, name, counted(name))
    step = Loop._step

    def counting(self: Loop) -> bool:
        counts.append(0)
        inside[0] = True
        try:
            return step(self)
        finally:
            inside[0] = False

    monkeypatch.setattr(Loop, "_step", counting)
    return counts


@pytest.mark.parametrize("stage", ["pretrain", "sft"])
def test_a_step_reads_nothing_from_its_device_until_rows_are_written(
    stage: str, ahead: None, reads: list[int], bases: dict[str, Path], tmp_path: Path
) -> None:
    """Packed rows and rows with a prompt, whose tokens do not all count, included."""
    start = start_of(stage, bases)
    reads.clear()
    train(tiny(stage, *start, *EVALS, "--steps", "6"), tmp_path, "", probe)
    assert reads[:-1] == [0] * 5
    assert reads[-1] > 0


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_what_the_host_decides_later_has_the_same_bits(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps 3 and 6 are not finite: skipped on the device, or by the host, without a difference."""
    plain = Pretrain.loss

    def bad(self: Any, model: Any, batch: Any) -> Any:
        terms = plain(self, model, batch)
        place = tuple(batch.extra.get("place", torch.tensor([-1])).numpy())
        terms.loss_sum = {
            k: v * (np.nan if place in ((3, 1), (6, 2)) else 1.0) for k, v in terms.loss_sum.items()
        }
        return terms

    batch = Pretrain.batch

    def placed(self: Any, step: int, micro: int) -> Any:
        made = batch(self, step, micro)
        made.extra["place"] = np.array([step, micro])
        return made

    monkeypatch.setattr(Pretrain, "batch", placed)
    monkeypatch.setattr(Pretrain, "loss", bad)
    run = tiny("pretrain", "--optim.name", optimizer)
    train(run, tmp_path / "host", "", probe)
    monkeypatch.setattr(World, "runs_ahead", property(lambda world: True))
    monkeypatch.setattr(loop, "_READ_EVERY_S", 1e9)
    train(run, tmp_path / "device", "", probe)
    assert different(outcome(tmp_path / "host"), outcome(tmp_path / "device")) == []


def test_rows_that_were_not_written_are_made_again(ahead: None, tmp_path: Path) -> None:
    run = tiny("pretrain")
    killed(run, tmp_path / "run", at_step(7))
    train(run, tmp_path / "run", "auto", probe)
    train(run, tmp_path / "alone", "", probe)
    assert different(outcome(tmp_path / "run"), outcome(tmp_path / "alone")) == []


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_skipped_update_changes_no_bit(name: str) -> None:
    torch.manual_seed(0)
    named = [
        (f"h.{i}.w", torch.nn.Parameter(torch.randn(*shape)))
        for i, shape in enumerate([(4, 6), (4, 6), (6,)])
    ]
    named = [(f"transformer.{key}", value) for key, value in named]
    rules = optim.build(named, OptimConfig(name=name), torch.float32)

    def update(scale: float, skip: float | None) -> list[torch.Tensor]:
        for _, parameter in named:
            parameter.grad = torch.ones_like(parameter) * scale
        for rule in rules:
            rule.found_inf = None if skip is None else torch.tensor(skip)
            rule.step()
        state = optim.state_tensors(rules, named)
        return [tensor.detach().clone() for tensor in (*(p for _, p in named), *state.values())]

    before = update(0.3, None)
    for scale in (float("nan"), float("inf"), 1.0):
        after = update(scale, 1.0)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before, update(0.3, 0.0), strict=True))


class Book:
    """An objective that notes who asks for which step."""

    holds_model = False

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool]] = []

    def batch(self, step: int, micro: int) -> Any:
        self.asked.append((step, threading.current_thread() is threading.main_thread()))
        if step == 3:
            raise DivergedError("step 3 has no batch")
        return step, micro

    def loss_denominators(self, batch: Any) -> dict[str, float]:
        return {"loss": 1.0}


def test_the_next_steps_batches_are_made_beside_this_one() -> None:
    book = Book()
    with BatchQueue(book, [0, 1]) as queue:  # type: ignore[arg-type]
        assert queue.get(0, 3) == ([(0, 0), (0, 1)], [{"loss": 1.0}] * 2)
        assert queue.get(1, 3)[0] == [(1, 0), (1, 1)]
        assert queue.get(2, 3)[0] == [(2, 0), (2, 1)]
    assert book.asked == [(0, True)] * 2 + [(1, False)] * 2 + [(2, False)] * 2  # and none beyond the last


def test_an_error_belongs_to_its_step() -> None:
    book = Book()
    with BatchQueue(book, [0]) as queue:  # type: ignore[arg-type]
        assert queue.get(2, 9)[0] == [(2, 0)]
        with pytest.raises(DivergedError):
            queue.get(3, 9)
        assert queue.get(5, 9)[0] == [(5, 0)]


def test_what_answers_with_the_live_model_is_made_when_asked() -> None:
    book = Book()
    book.holds_model = True
    with BatchQueue(book, [0]) as queue:  # type: ignore[arg-type]
        queue.get(0, 9)
        queue.get(1, 9)
    assert book.asked == [(0, True), (1, True)]


def test_no_thread_outlives_a_run_that_was_killed(tmp_path: Path) -> None:
    killed(tiny("pretrain"), tmp_path, at_step(3))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
