"""Guardrails: what is lost, what is chance, and where a run stands that one of them ended."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from test_objectives import _own_cache_for_module, base, settings, tokenizer  # noqa: F401
from test_rl import options

from neogpt import ledger, model_store
from neogpt.config import BatchConfig, EvalConfig, SaveConfig
from neogpt.errors import ConfigError, RegressedError
from neogpt.outcomes import Outcomes
from neogpt.paths import RunDir
from neogpt.report import runs as report_runs
from neogpt.report import summary
from neogpt.train.monitors.guardrails import Guardrails
from neogpt.train.run import train

# --- outcomes ----------------------------------------------------------------------------------------------


def test_the_error_of_a_change_is_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(2, 3, 40)
    now = before + rng.normal(0.3, 0.5, 40)
    change, error = Outcomes.of(now).change_since(Outcomes.of(before))
    assert change / error == pytest.approx(stats.ttest_rel(now, before).statistic, rel=1e-12)


def test_the_error_of_a_change_of_means_a_token_is_that_of_resampling() -> None:
    """Samples of unlike length, and other lengths at the second evaluation: against 20,000 bootstraps of pairs."""
    rng = np.random.default_rng(1)
    n = 200
    old_w, new_w = rng.integers(3, 40, n).astype(float), rng.integers(3, 40, n).astype(float)
    hard = rng.gamma(2, 0.3, n)
    old, new = Outcomes(hard * old_w, old_w), Outcomes((hard + rng.normal(0.02, 0.05, n)) * new_w, new_w)
    change, error = new.change_since(old)
    ids = rng.integers(0, n, (20_000, n))
    resampled = new.sums[ids].sum(1) / new_w[ids].sum(1) - old.sums[ids].sum(1) / old_w[ids].sum(1)
    assert change == pytest.approx(new.sums.sum() / new_w.sum() - old.sums.sum() / old_w.sum())
    assert error == pytest.approx(resampled.std(), rel=0.05)


def test_outcomes_of_other_samples_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="paired"):
        Outcomes.of([1, 0]).change_since(Outcomes.of([1, 0, 1]))
    assert math.isinf(Outcomes.of([1]).change_since(Outcomes.of([0]))[1])


# --- verdicts ----------------------------------------------------------------------------------------------


def lost(rails: Guardrails, row: dict[str, Any], samples: dict[str, Outcomes] | None = None) -> list[str]:
    found: list[str] = rails.note(row, samples or {}).get(ledger.REGRESSED, [])
    return found


def watch(tmp_path: Path, *names: str) -> Guardrails:
    return Guardrails(names, 0.03, tmp_path / "guardrails.jsonl")


@pytest.mark.parametrize(
    ("rail", "error", "now", "is_lost"),
    [
        ("asked", 0.08, 0.63, False),  # two of 32: less than its standard error
        ("asked", 0.08, 0.60, True),
        ("asked", 0.01, 0.65, True),  # more than the tolerance, which is more than the error
        ("asked", 0.01, 0.67, False),
        ("asked", None, 0.65, True),
        ("asked:low", 0.08, 0.76, False),
        ("asked:low", 0.08, 0.78, True),
        ("asked:0.2", 0.08, 0.55, False),
    ],
)
def test_a_score_without_samples_may_worsen_by_its_standard_error(
    tmp_path: Path, rail: str, error: float | None, now: float, is_lost: bool
) -> None:
    rails = watch(tmp_path, rail)
    extra = {} if error is None else {"asked_stderr": error}
    assert lost(rails, {"step": 0, "asked": 0.69, **extra}) == []
    assert lost(rails, {"step": 20, "asked": now, **extra}) == ["asked"] * is_lost


def test_guardrails_know_which_way_is_good(tmp_path: Path) -> None:
    rails = watch(tmp_path, "right", "refused:low", "kl:low:0.5")
    start = {"step": 0, "right": 0.9, "refused": 0.1, "kl": 0.0}
    for fine in (start, {**start, "right": 0.87, "refused": 0.13, "kl": 0.5}, {**start, "right": 1.0}):
        assert lost(rails, {**fine, "step": 1}) == []
    for worse in ({"right": 0.86}, {"refused": 0.14}, {"kl": 0.51}, {"right": None}, {"right": math.nan}):
        assert lost(rails, {**start, "step": 1, **worse}) == list(worse)


def test_what_chance_explains_is_not_lost(tmp_path: Path) -> None:
    """Two wild samples move a mean of 60 by more than the tolerance; a shift of every sample by as much is real."""
    rng = np.random.default_rng(2)
    before = rng.gamma(2, 0.1, 60)
    wild, shifted = before.copy(), before + 0.05
    wild[:2] += (4.0, -1.0)
    assert wild.mean() - before.mean() == pytest.approx(0.05)
    rails = watch(tmp_path, "val_loss:low")

    def row(step: int, values: np.ndarray) -> tuple[dict[str, Any], dict[str, Outcomes]]:
        return {"step": step, "val_loss": float(values.mean())}, {"val_loss": Outcomes.of(values)}

    assert lost(rails, *row(0, before)) == []
    assert lost(rails, *row(10, wild)) == []
    assert lost(rails, *row(20, shifted)) == ["val_loss"]


@pytest.mark.parametrize(
    ("right", "is_lost"), [(60, False), (57, False), (55, False), (53, True), (30, True)]
)
def test_a_share_is_lost_when_more_is_gone_than_chance_and_tolerance(
    tmp_path: Path, right: int, is_lost: bool
) -> None:
    """Of 60 right answers k turn wrong: the exact one-sided p of McNemar's test for k over 1.8 (3 %) is below 5 %."""
    rails = watch(tmp_path, "asked")
    lost(rails, {"step": 0, "asked": 1.0}, {"asked": Outcomes.of([1] * 60)})
    now = Outcomes.of([1] * right + [0] * (60 - right))
    assert lost(rails, {"step": 1, "asked": now.mean}, {"asked": now}) == ["asked"] * is_lost
    chance = stats.binom.sf(60 - right - 1, 60, 0.03)
    assert (chance < 0.02) == is_lost


def test_a_resumed_run_decides_as_an_uninterrupted_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    before = rng.gamma(2, 0.1, 30)
    first, later = ({"val_loss": Outcomes.of(values)} for values in (before, before + 0.05))
    row = {"step": 0, "val_loss": first["val_loss"].mean}
    begun = watch(tmp_path, "val_loss:low")
    begun.note(row, first)
    resumed = watch(tmp_path, "val_loss:low")
    resumed.recall([row, {"step": 1, "grad_norm": 1.0, "loss": 3.0}])
    second = {"step": 10, "val_loss": later["val_loss"].mean}
    assert lost(begun, second, later) == lost(resumed, second, later) == ["val_loss"]
    with pytest.raises(RegressedError):
        watch(tmp_path, "val_loss:low").recall([row, {**second, ledger.REGRESSED: ["val_loss"]}])


@pytest.mark.parametrize("entry", ["kl:lower", "kl:low:x", "kl:0.1:low", "kl:-1", "kl:low:nan", ":low"])
def test_a_guardrail_that_cannot_be_read(tmp_path: Path, entry: str) -> None:
    with pytest.raises(ConfigError):
        watch(tmp_path, entry)


@pytest.mark.parametrize("row", [{"right": None}, {"right": math.nan}, {}])
def test_a_guardrail_has_a_number_from_the_start(tmp_path: Path, row: dict[str, Any]) -> None:
    """Otherwise it would be switched off for the whole run."""
    with pytest.raises(ConfigError):
        watch(tmp_path, "right").note({"step": 0, **row})


# --- runs --------------------------------------------------------------------------------------------------


def test_a_run_that_a_guardrail_ended_stands_at_its_last_good_checkpoint(
    base: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """A rate far too high: it leaves its start behind, ends with a typed error, and stays ended on resume."""
    rails = EvalConfig(every=2, val_samples=8, guardrails=("guardrail/kl:low:0.1",))
    run: Any = settings(
        "rl", options(sft_coef=0.0), init_from=str(base), eval=rails, save=SaveConfig(every=1, keep_last=1)
    )
    run = dataclasses.replace(
        run, batch=BatchConfig(size=4, micro_batches=2), optim=dataclasses.replace(run.optim, lr=0.05)
    )
    files = RunDir(tmp_path / "run")
    with pytest.raises(RegressedError) as caught:
        train(run, files.root)
    assert caught.value.exit_code == 6
    rows = ledger.read(files.metrics)
    assert rows[-1][ledger.REGRESSED] == ["guardrail/kl"]
    good = ledger.last_good_step(rows)
    assert good is not None
    assert good < rows[-1]["step"]
    assert model_store.resolve(files.root).path == files.checkpoint(good)
    with pytest.raises(RegressedError):
        train(run, files.root, resume="auto")
    assert ledger.read(files.metrics) == rows
    (stage,), _ = report_runs.read(files.root)
    assert stage.stands_at == good
    before = next(row for row in rows if row["step"] == good and "grad_norm" not in row)
    assert stage.standing("guardrail/kl") == before["guardrail/kl"] < rows[-1]["guardrail/kl"]
    assert any(f"step {good:,}" in note and "guardrail" in note for note in summary(files.root)["notes"])
