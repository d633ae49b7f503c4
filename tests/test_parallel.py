"""ddp and fsdp, exact and fast: one result, one checkpoint, whatever the layout and the number of processes."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from training import Launcher, different, events, kill_at_rows, outcome, reserved_port, saved, start_of

from neogpt import ledger
from neogpt.config import BatchConfig
from neogpt.errors import ConfigError
from neogpt.paths import RunDir
from neogpt.train.parallel import distributed
from neogpt.train.parallel.distributed import World

FAST = ("--reduction", "fast")
FSDP = (*FAST, "--parallel", "fsdp")
UNEVEN = ("--model.n-embd", "30", "--steps", "4")
"""Rows of matrices and ids of the vocabulary divide neither by 4 nor all by 2."""


def losses(folder: Path) -> np.ndarray:
    """Every training and validation loss of a run, in the order of its ledger."""
    rows = ledger.read(RunDir(folder).metrics)
    return np.array([row["loss"] if "grad_norm" in row else row["val_loss"] for row in rows])


def norms(folder: Path) -> np.ndarray:
    return np.array([row["grad_norm"] for row in ledger.read(RunDir(folder).metrics) if "grad_norm" in row])


def weights(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of the last checkpoint, of the model and of the optimizer."""
    last = RunDir(folder).checkpoint(max(saved(folder)))
    return load_file(last / "model.safetensors") | load_file(last / "trainer.safetensors")


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_layout_computes_what_one_process_does(name: str, launcher: Launcher, tmp_path: Path) -> None:
    """Losses and gradient norms to 1e-6, weights and optimizer state to a small part of one update."""
    settings = (*UNEVEN, "--optim.name", name)
    layouts = [(1, ()), (2, FAST), (4, FAST), (2, FSDP), (4, FSDP)]
    for number, (world, layout) in enumerate(layouts):
        folder = tmp_path / str(number)
        group = launcher.train(world, "pretrain", folder, *settings, *layout, patch="float32_muon")
        assert group.wait() == [0] * world, group.text()
        np.testing.assert_allclose(losses(folder), losses(tmp_path / "0"), rtol=1e-6)
        np.testing.assert_allclose(norms(folder), norms(tmp_path / "0"), rtol=2e-5)
        found, expected = weights(folder), weights(tmp_path / "0")
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            np.testing.assert_allclose(found[key], tensor, atol=5e-5, rtol=1e-3, err_msg=key)


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_other_objectives_under_fsdp(
    stage: str, launcher: Launcher, bases: dict[str, Path], tmp_path: Path
) -> None:
    """With replay, which runs the model twice in one loss."""
    group = launcher.train(2, stage, tmp_path, *FSDP, *start_of(stage, bases))
    assert group.wait() == [0, 0], group.text()
    np.testing.assert_allclose(losses(tmp_path), losses(bases[stage]), rtol=2e-6)


def test_a_run_changes_its_layout_at_every_resume(launcher: Launcher, tmp_path: Path) -> None:
    """ddp on 1, fsdp on 2, ddp on 4, fsdp on 4, ddp on 1: the losses of the uninterrupted run."""
    folder = tmp_path / "run"
    at_once = ("--save.background", "False")
    alone = launcher.train(1, "pretrain", tmp_path / "alone", *FAST)
    layouts = [(1, FAST), (2, FSDP), (4, FAST), (4, FSDP)]
    for hold, rows, (world, layout) in zip((3, 5, 7, 9), (5, 7, 10, 13), layouts, strict=True):
        group = launcher.train(world, "pretrain", folder, *layout, *at_once, resume="auto", hold=hold)
        kill_at_rows(group, folder, rows)
    group = launcher.train(1, "pretrain", folder, *FAST, resume="auto")
    assert (alone.wait(), group.wait()) == ([0], [0]), group.text()
    np.testing.assert_allclose(losses(folder), losses(tmp_path / "alone"), rtol=1e-5)
    starts = events(folder, "start", "resume")
    assert [row["processes"] for row in starts] == [1, 2, 4, 4, 1]
    assert [row["step"] for row in starts] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("layout", [FAST, FSDP], ids=["ddp", "fsdp"])
def test_as_many_processes_give_the_same_bits_again(
    layout: tuple[str, ...], launcher: Launcher, tmp_path: Path
) -> None:
    """Not on other numbers of them, but killed and resumed on as many a fast run repeats itself."""
    alone = launcher.train(2, "pretrain", tmp_path / "alone", *layout)
    folder = tmp_path / "run"
    kill_at_rows(launcher.train(2, "pretrain", folder, *layout, hold=5), folder, 7)
    group = launcher.train(2, "pretrain", folder, *layout, resume="auto")
    assert (alone.wait(), group.wait()) == ([0, 0], [0, 0]), group.text()
    assert different(outcome(folder), outcome(tmp_path / "alone")) == []


@pytest.mark.parametrize("layout", [FAST, FSDP], ids=["ddp", "fsdp"])
def test_a_loss_that_is_not_finite_on_one_process_updates_none(
    layout: tuple[str, ...], launcher: Launcher, tmp_path: Path
) -> None:
    """Micro-batch 3 belongs to the second process; the step is refused, counted, and the run goes on."""
    settings = (*layout, "--steps", "4", "--save.every", "1", "--save.keep-last", "9")
    fault = {"places": [[2, 3]], "value": float("nan")}
    group = launcher.train(2, "pretrain", tmp_path, *settings, patch="non_finite", options=fault)
    assert group.wait() == [0, 0], group.text()
    rows = [row for row in ledger.read(RunDir(tmp_path).metrics) if "grad_norm" in row]
    assert [row.get("skipped", "") for row in rows] == ["", "", "non-finite", ""]
    run = RunDir(tmp_path)
    second, third, fourth = (load_file(run.checkpoint(n) / "model.safetensors") for n in (2, 3, 4))
    assert all(np.array_equal(second[key], third[key]) for key in second)
    assert not all(np.array_equal(third[key], fourth[key]) for key in third)
    assert all(np.isfinite(tensor).all() for tensor in fourth.values())


@pytest.mark.parametrize(
    ("layout", "name", "at_least"),
    [(FAST, "all_reduce", 5), (FSDP, "reduce_scatter_single", 3)],
    ids=["ddp", "fsdp"],
)
def test_processes_meet_once_a_step_while_the_backward_runs(
    layout: tuple[str, ...], name: str, at_least: int, launcher: Launcher, tmp_path: Path
) -> None:
    """Only the last of a process's micro-batches sends, a bucket or a block at a time: 2 or 4, as many sums."""
    noted = []
    for number, micro_batches in enumerate(("2", "4")):
        options = {"path": str(tmp_path / f"sums{number}"), "bucket_bytes": 2**13}
        settings = (
            *layout,
            "--steps",
            "1",
            "--eval.val-samples",
            "0",
            "--batch.micro-batches",
            micro_batches,
        )
        folder = tmp_path / micro_batches
        group = launcher.train(2, "pretrain", folder, *settings, patch="noted_sums", options=options)
        assert group.wait() == [0, 0], group.text()
        noted += [(tmp_path / f"sums{number}.{rank}").read_text().splitlines() for rank in (0, 1)]
    assert all(lines == noted[0] for lines in noted)
    assert set(noted[0]) == {f"{name} backward"}
    assert len(noted[0]) >= at_least


def test_fsdp_does_not_promise_equal_bits(launcher: Launcher, tmp_path: Path) -> None:
    group = launcher.train(2, "pretrain", tmp_path / "run", "--parallel", "fsdp")
    assert group.wait() == [2, 2]
    assert "--parallel fsdp --reduction fast" in group.text(0)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("world", "settings", "said"),
    [(2, FSDP, "--parallel ddp"), (1, ("--steps", "0", "--hours", "1"), "a horizon in steps")],
    ids=["fsdp", "hours"],
)
def test_reinforcement_learning_wants_a_whole_model_and_steps(
    world: int,
    settings: tuple[str, ...],
    said: str,
    launcher: Launcher,
    bases: dict[str, Path],
    tmp_path: Path,
) -> None:
    """It samples from the live model and keeps the answers: refused before the first row, not hung."""
    group = launcher.train(world, "rl", tmp_path / "run", *settings, *start_of("rl", bases))
    assert group.wait() == [2] * world, group.text()
    assert said in group.text(0)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_the_promise_of_equal_bits_is_given_up_once(launcher: Launcher, tmp_path: Path) -> None:
    """exact may become fast on resume, fast never exact."""
    at_once = ("--save.background", "False")
    kill_at_rows(launcher.train(1, "pretrain", tmp_path, *at_once, hold=3), tmp_path, 5)
    faster = launcher.train(1, "pretrain", tmp_path, *at_once, *FAST, resume="auto", hold=6)
    kill_at_rows(faster, tmp_path, 9)
    group = launcher.train(1, "pretrain", tmp_path, *at_once, resume="auto")
    assert group.wait() == [2]
    assert "reduction: 'fast' -> 'exact'" in group.text()


@pytest.mark.parametrize(
    ("rank", "is_taken"), [(0, True), (0, False), (1, False)], ids=["taken", "alone", "no main process"]
)
def test_processes_that_do_not_meet_say_where(
    rank: int, is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of a traceback, or of waiting for days."""
    monkeypatch.setattr(distributed, "_MEETING", timedelta(seconds=1))
    with reserved_port() as held:
        if is_taken:
            held.listen()
        port = held.getsockname()[1]
        for name, value in {
            "RANK": rank,
            "WORLD_SIZE": 2,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }.items():
            monkeypatch.setenv(name, str(value))
        with (
            pytest.raises(ConfigError, match=rf"cannot find each other at 127\.0\.0\.1:{port}"),
            distributed.connected(World(rank, 2), "cpu"),
        ):
            pass


@pytest.mark.parametrize(
    ("batch", "world", "exact", "said"),
    [
        ((12, 6), 2, True, ["1, 3, 6 processes", "or 2, 4 micro-batches", "--batch.micro-batches 4"]),
        ((12, 6), 4, False, ["1, 2, 3, 6 processes", "or 4, 12 micro-batches", "--batch.micro-batches 4"]),
        ((8, 4), 3, True, ["1, 2, 4 processes", "--batch.size 9 --batch.micro-batches 3"]),
    ],
)
def test_arithmetic_that_cannot_be_names_what_can(
    batch: tuple[int, int], world: int, exact: bool, said: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        World(0, world).share(BatchConfig(size=batch[0], micro_batches=batch[1]), exact)
    for part in said:
        assert part in str(caught.value)


def test_shares_cover_every_micro_batch_once() -> None:
    batch = BatchConfig(size=12, micro_batches=6)
    for world, exact in ((1, True), (3, True), (6, True), (2, False), (3, False)):
        shares = [World(rank, world).share(batch, exact) for rank in range(world)]
        assert [micro for share in shares for micro in share] == list(range(6))


@pytest.mark.parametrize(("reference", "computed"), [("cached", "0\n0\n"), ("live", "")])
def test_one_process_computes_the_reference_and_the_others_read_it(
    reference: str, computed: str, launcher: Launcher, bases: dict[str, Path], tmp_path: Path
) -> None:
    """Of the training pairs and of the held-out ones; a live reference leaves nothing on disk."""
    group = launcher.train(
        2,
        "dpo",
        tmp_path / "run",
        *start_of("dpo", bases),
        *("--steps", "1", "--eval.every", "0", "--save.every", "0", "--objective.reference", reference),
        patch="noted_references",
        options={"path": str(tmp_path / "computed")},
        environment={"NEOGPT_HOME": str(tmp_path / "home")},
    )
    assert group.wait() == [0, 0], group.text()
    noted = tmp_path / "computed"
    assert (noted.read_text() if noted.exists() else "") == computed
