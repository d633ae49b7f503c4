"""Which checkpoint is the newest, which are kept: by number, by manifest, by the ledger."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neogpt import atomic, checkpoint, ledger, model_store, retention
from neogpt.config import SaveConfig
from neogpt.errors import CheckpointError
from neogpt.paths import RunDir


class Killed(Exception):
    """The end of the process, for a test."""


def make_checkpoints(run: RunDir, steps: list[int]) -> None:
    for step in steps:
        with atomic.directory(run.checkpoint(step)) as folder:
            (folder / "x").write_text(str(step))


def test_checkpoints_are_ordered_by_number(tmp_path: Path) -> None:
    """As text step-99999999 stands behind step-100000000."""
    run = RunDir(tmp_path)
    make_checkpoints(run, [900, 1000, 99_999_999, 100_000_000, 20])
    for stray in ("step-1", "step-abc", "step-00000007.tmp-1", "other"):
        (run.checkpoints / stray).mkdir()
    assert retention.steps(run) == [20, 900, 1000, 99_999_999, 100_000_000]
    assert retention.newest(run) == run.checkpoints / "step-100000000"
    assert retention.steps(RunDir(tmp_path / "absent")) == []
    assert retention.newest(RunDir(tmp_path / "absent")) is None


def test_newest_passes_over_what_is_not_whole_and_says_so(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    make_checkpoints(run, [1, 2, 3, 4, 5])
    (run.checkpoint(5) / "x").write_text("6")
    (run.checkpoint(4) / "MANIFEST.json").unlink()
    (run.checkpoint(3) / "MANIFEST.json").write_text('{"files": {"../x": {"bytes": 1, "sha256": ""}}}')
    said: list[str] = []
    assert retention.newest(run, said.append) == run.checkpoint(2)
    assert [line.partition(":")[0] for line in said] == [f"skipped step-0000000{n}" for n in (5, 4, 3)]
    (run.checkpoint(1) / "x").unlink()
    (run.checkpoint(2) / "x").unlink()
    with pytest.raises(CheckpointError, match="none of the 5 checkpoints") as caught:
        retention.newest(run)
    assert "sha256 differs" in str(caught.value)


def test_a_damaged_checkpoint_is_an_error_that_names_the_others(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    make_checkpoints(run, [1, 2, 3])
    for step in (1, 2, 3):
        (run.checkpoint(step) / "config.json").touch()
    (run.checkpoint(3) / "x").write_text("6")
    with pytest.raises(
        CheckpointError, match=r"sha256 differs(.|\n)*try: another checkpoint .*0002, .*0001$"
    ):
        model_store.resolve(run.checkpoint(3))


@given(
    st.lists(st.integers(0, 300), unique=True, max_size=30),
    st.integers(0, 5),
    st.integers(0, 60),
    st.data(),
)
def test_retention_against_brute_force(found: list[int], last: int, every: int, data: st.DataObject) -> None:
    best = data.draw(st.sampled_from(found)) if found and data.draw(st.booleans()) else None
    policy = SaveConfig(keep_last=last, keep_every=every)
    expected = []
    for step in sorted(found):
        newer = sum(other > step for other in found)
        if newer < max(1, last) or (every and step % every == 0) or step == best:
            expected.append(step)
    assert retention.kept_steps(found, best, policy) == expected


def test_retention_over_a_run_is_never_without_a_whole_checkpoint(tmp_path: Path) -> None:
    """The best by validation loss, each 10th, and the last two stay; the newest is never deleted."""
    run = RunDir(tmp_path)
    losses = {2: 3.0, 4: 1.0, 6: 2.0, 8: float("nan"), 10: 1.5, 12: 1.5}
    policy = SaveConfig(keep_last=2, keep_every=10)
    for step, loss in losses.items():
        make_checkpoints(run, [step])
        checkpoint.retain(run, policy)
        assert step in retention.steps(run)
        ledger.append(run.metrics, {"step": step, "val_loss": loss if loss == loss else None})
    assert retention.steps(run) == [4, 10, 12]
    assert list(run.checkpoints.glob("*.tmp-*")) == []


def test_a_deletion_that_is_interrupted_leaves_no_half_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(tmp_path)
    make_checkpoints(run, [1, 2])

    def killed(path: Path, ignore_errors: bool = False) -> None:
        raise Killed

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(Killed):
        checkpoint.remove(run, [1])
    assert retention.steps(run) == [2]
