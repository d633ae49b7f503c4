"""Reinforcement learning: closed forms, the same bits however it is computed, and runs that stop in time."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_objectives import SHAPE, base, settings, tokenizer  # noqa: F401
from test_objectives import _own_cache_for_module as _cache  # noqa: F401

from neogpt import ledger
from neogpt.config import BatchConfig, EvalConfig
from neogpt.data.batch import Batch
from neogpt.errors import NeoGPTError, RewardError
from neogpt.model import GPT2, load_pretrained
from neogpt.objectives import rl
from neogpt.objectives.batching import on_device
from neogpt.objectives.rl import grpo
from neogpt.objectives.rl.objective import RL
from neogpt.objectives.rl.rewards import length
from neogpt.paths import RunDir
from neogpt.tokenizer import Tokenizer
from neogpt.train.run import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def _own_cache_for_module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEOGPT_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def options(**changes: Any) -> rl.Config:
    small = {"num_generations": 4, "max_completion_length": 10, "val_fraction": 0.3, "sft_rows": 4}
    return rl.Config(**{**small, "rewards": ("length:1", "repetition:0.5"), **changes})


def objective(tokenizer: Tokenizer, model: GPT2, micro_batches: int = 2, **changes: Any) -> RL:  # noqa: F811
    run = settings("rl", options(**changes), batch=BatchConfig(size=4, micro_batches=micro_batches))
    made = RL(run, tokenizer, SHAPE.n_positions)
    made.begin(model)
    return made


def rl_loss(made: RL, model: GPT2, batch: Batch) -> torch.Tensor:
    terms = made.loss(model, on_device(batch, CPU)).loss_sum
    weights = made.loss_denominators(batch)
    shares = [made.coefficients[name] * term / weights[name] for name, term in terms.items()]
    return torch.stack(shares).sum()


def same(one: Batch, other: Batch) -> bool:
    """All ids, weights and advantages are equal bits."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("tokens", "targets", "weights")]
    pairs += [(one.extra[name], other.extra[name]) for name in ("advantages", "scores")]
    return all(np.array_equal(a, b) for a, b in pairs)


# --- arithmetic --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [True, False])
def test_equal_rewards_give_exactly_no_gradient(
    scale: bool,
    tokenizer: Tokenizer,  # noqa: F811
    base: Path,  # noqa: F811
) -> None:
    model = load_pretrained(base)
    made = objective(tokenizer, model, rewards=("finished:0.1",), beta=0.0, sft_coef=0.0, scale_rewards=scale)
    batch = made.batch(0, 0)
    assert not batch.extra["advantages"].any()
    rl_loss(made, model, batch).backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    assert made.loss(model, on_device(batch, CPU)).metrics["zero_variance"][0] == 2


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_gradient_is_the_slope_of_the_loss(
    loss_type: Any,
    tokenizer: Tokenizer,  # noqa: F811
    base: Path,  # noqa: F811
) -> None:
    """Central differences in float64 along random directions, off the weights that sampled."""
    model = load_pretrained(base)
    made = objective(
        tokenizer, model, loss_type=loss_type, updates_per_rollout=2, epsilon=1.0, epsilon_high=9.0
    )
    batch = made.batch(0, 0)
    for each in (model, made.actor, made.reference):
        each.double()
    batch.extra["advantages"] = batch.extra["advantages"].astype(np.float64)
    dice = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=dice, dtype=torch.float64))
    rl_loss(made, model, batch).backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    for _ in range(2):
        directions = [torch.randn(p.shape, generator=dice, dtype=torch.float64) for p in model.parameters()]
        values = []
        for sign in (1, -2, 1):
            with torch.no_grad():
                for p, d in zip(model.parameters(), directions, strict=True):
                    p.add_(sign * 1e-5 * d)
            values.append(rl_loss(made, model, batch).item())
        slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope, rel=1e-4)


def test_cutting_the_step_into_micro_batches_changes_no_sum() -> None:
    """By hand, on a table of log-probabilities: parts add up to the whole for every way to weigh tokens."""
    dice = np.random.default_rng(0)
    tables = [torch.tensor(dice.normal(-2, 1, (6, 5))) for _ in range(3)]
    advantages_R = torch.tensor(dice.normal(size=6))
    mask = (np.arange(5)[None] < dice.integers(1, 6, 6)[:, None]).astype(np.float32)
    for loss_type in ("dapo", "grpo", "dr_grpo"):
        weights = grpo.token_weights(mask, loss_type)

        def share(rows: slice, weights: np.ndarray = weights, kind: Any = loss_type) -> tuple[float, float]:
            parts = [table[rows] for table in tables]
            found = grpo.terms(*parts, advantages_R[rows], torch.tensor(weights[rows]), 0.2, 0.3)
            return float(found.policy), grpo.total_weight(weights[rows], kind, 5)

        whole, halves = share(slice(0, 6)), [share(slice(0, 2)), share(slice(2, 6))]
        assert whole == pytest.approx(tuple(map(sum, zip(*halves, strict=True))), rel=1e-6)


def test_a_token_is_held_back_only_where_it_would_go_on() -> None:
    """Four corners: the clip binds for a good token above 1 + high and a bad one below 1 - low, nowhere else."""
    logps = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], requires_grad=True)
    old = torch.zeros(4, 1)
    found = grpo.terms(logps, old, old, torch.tensor([1.0, 1.0, -1.0, -1.0]), torch.ones(4, 1), 0.2, 0.28)
    assert found.clipped_RT[:, 0].tolist() == [True, False, False, True]
    found.policy.backward()
    assert logps.grad is not None
    assert (logps.grad[:, 0] != 0).tolist() == [False, True, True, False]


def test_the_end_of_text_is_learned_and_nothing_else_of_the_frame(
    tokenizer: Tokenizer,  # noqa: F811
    base: Path,  # noqa: F811
) -> None:
    """Weights are 1 exactly on what was sampled: not on the prompt, not on padding, but on the end."""
    model = load_pretrained(base)
    with torch.no_grad():  # make end-of-text likely, so that some answers end
        row_D = model.transformer.wte.weight[tokenizer.eot_id]
        model.transformer.ln_f.bias += 5 * row_D / (row_D @ row_D)
    made = objective(tokenizer, model)
    batch = made.batch(0, 0)
    ended = 0
    for tokens, targets, weights in zip(batch.tokens, batch.targets, batch.weights, strict=True):
        (where,) = weights.nonzero()
        assert (np.diff(where) == 1).all()
        assert len(where) <= 10
        prompt = tokens[: where[0] + 1]
        assert tokenizer.decode(prompt[1:].tolist()).endswith("Response:\n")
        end = targets[where] == tokenizer.eot_id
        assert not end[:-1].any()
        ended += int(end[-1])
    assert 0 < ended == int(batch.extra["stopped"].sum())


def test_cut_off_answers_can_be_left_out(tokenizer: Tokenizer, base: Path) -> None:  # noqa: F811
    made = objective(
        tokenizer, load_pretrained(base), mask_truncated_completions=True, max_completion_length=4
    )
    batch = made.batch(0, 0)
    assert (batch.weights.any(1) == (batch.extra["stopped"] > 0)).all()
    assert not batch.extra["stopped"].all()


# --- the same bits -----------------------------------------------------------------------------------------


def test_a_micro_batch_is_the_same_whoever_makes_it(tokenizer: Tokenizer, base: Path) -> None:  # noqa: F811
    one, other = (objective(tokenizer, load_pretrained(base)) for _ in range(2))
    first = one.batch(3, 1)
    other.batch(0, 0)
    assert same(first, other.batch(3, 1))
    assert not np.array_equal(first.tokens, one.batch(4, 1).tokens)


def test_a_rollout_is_made_again_from_the_state_in_mid_cycle(
    tokenizer: Tokenizer,  # noqa: F811
    base: Path,  # noqa: F811
) -> None:
    """After an update the live weights are others; what was saved gives the same answers in a new process."""
    model = load_pretrained(base)
    made = objective(tokenizer, model, updates_per_rollout=3)
    with torch.no_grad():  # what the first three updates did
        for parameter in model.parameters():
            parameter.mul_(0.9)
    before = made.batch(3, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    assert same(made.batch(4, 0), before)
    assert made.state(3) == {}
    state = made.state(4)
    anew = objective(tokenizer, load_pretrained(base), updates_per_rollout=3)
    anew.live.load_state_dict(model.state_dict())
    anew.load_state(state)
    assert same(anew.batch(4, 0), before)
    assert not same(made.batch(6, 0), before)


def test_flat_groups_are_tried_anew(
    tokenizer: Tokenizer,  # noqa: F811
    base: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dynamic sampling: other prompts take the place of groups that all score alike, a bounded number of times."""
    calls: list[int] = []

    def reward(answer: Any, known: Any) -> float:
        """Flat for the first rollout, then not."""
        calls.append(1)
        return 0.0 if len(calls) <= 8 else float(len(calls) % 3)

    monkeypatch.setattr(length, "reward", reward)
    made = objective(tokenizer, load_pretrained(base), rewards=("length:1",), dynamic_sampling=3)
    batch = made.batch(0, 0)
    assert len(calls) == 16  # two groups of four, both tried once more, and then good
    assert batch.extra["advantages"].reshape(2, 4).any(1).all()
    monkeypatch.setattr(length, "reward", lambda answer, known: 0.0)
    assert not made.batch(0, 0).extra["advantages"].any()  # bounded: in the end flat groups stay


# --- runs that stop in time --------------------------------------------------------------------------------


def run_rl(base: Path, folder: Path, **changes: Any) -> None:  # noqa: F811
    run = settings("rl", options(), init_from=str(base), batch=BatchConfig(size=4, micro_batches=2))
    train(dataclasses.replace(run, **changes), folder)


@pytest.mark.parametrize("value", [None, float("nan"), "error"])
def test_a_reward_without_a_number_stops_the_run_before_an_update(
    value: Any,
    base: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def reward(answer: Any, known: Any) -> Any:
        if value == "error":
            raise ZeroDivisionError("by nothing")
        return value

    monkeypatch.setattr(length, "reward", reward)
    with pytest.raises(
        RewardError, match=r"reward length (gave (None|nan)|failed with Zero).*to the request '[A-Z]"
    ):
        run_rl(base, tmp_path / "run", eval=EvalConfig(every=0, val_samples=0))
    assert not any("grad_norm" in row for row in ledger.read(RunDir(tmp_path / "run").metrics))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_generations": 1},
        {"rewards": ("lenght:1",)},
        {"rewards": ("length",)},
        {"rewards": ("length:1", "length:2")},
        {"rewards": ()},
        {"beta": -1.0},
        {"max_completion_length": 96},
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], tokenizer: Tokenizer) -> None:  # noqa: F811
    with pytest.raises(NeoGPTError) as caught:
        RL(settings("rl", options(**changes)), tokenizer, 96)
    assert caught.value.exit_code in (2, 3)
