"""Preference losses against TRL's DPOTrainer and CPOTrainer: same model, same pairs, same loss and gradients."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from objectives_helpers import objective_of, scaled
from transformers import GPT2Config as HFConfig
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from neogpt.config import BatchConfig, GPT2Config
from neogpt.model import GPT2
from neogpt.objectives import dpo
from neogpt.objectives.batching import on_device
from neogpt.objectives.dpo.objective import DPO
from neogpt.records import Pair
from neogpt.tokenizer import Tokenizer

pytest.importorskip("trl", reason="TRL, the referee, is not installed (pip install 'neogpt[dev]')")
pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's own

SHAPE = GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=128, vocab_size=400)
PAIRS = [
    Pair(f"Who is {'she and ' * (i % 3)}number {i}?", "", f"It is {i}. " * (1 + i % 4), f"Nobody {i}." * (1 + i % 2))
    for i in range(6)
]  # fmt: skip
QUIET: dict[str, Any] = {
    "max_length": None,
    "per_device_train_batch_size": len(PAIRS),
    "max_steps": 1,
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "disable_tqdm": True,
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["Who is she and number 12345678? It is. Nobody. Response: Context:"] * 4, 400)


@pytest.fixture(scope="module")
def trl_tokenizer(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(folder)
    loaded: Any = PreTrainedTokenizerFast.from_pretrained(folder)
    loaded.pad_token = loaded.eos_token
    return loaded


def ours(scale: float) -> GPT2:
    """The same weights for the same scale; a policy that has moved has another one than its reference."""
    return scaled(SHAPE, 5, scale)


def theirs(model: GPT2) -> GPT2LMHeadModel:
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    other = GPT2LMHeadModel(HFConfig(**dataclasses.asdict(SHAPE), **off, bos_token_id=0, eos_token_id=0))
    other.load_state_dict(model.state_dict(), strict=False)
    return other


def our_objective(
    tokenizer: Tokenizer, patch: pytest.MonkeyPatch, pairs: list[Pair] = PAIRS, **options: Any
) -> DPO:
    made = objective_of(
        "dpo",
        dpo.Config(**{"max_tokens": 128, "val_fraction": 0.0, "sft_coef": 0.0, **options}),
        pairs,
        tokenizer,
        patch,
        shape=SHAPE,
        batch=BatchConfig(size=len(PAIRS), micro_batches=1),
        steps=1,
        dtype="float32",
    )
    made.begin(ours(3.0))
    return made


def rows(made: DPO, tokenizer: Tokenizer, with_end: bool) -> Any:
    """The pairs as text; TRL's DPOTrainer adds the end-of-text itself."""
    from datasets import Dataset

    def text(row: Any) -> str:
        return tokenizer.decode(row[1][:-1]) + ("<|endoftext|>" if with_end else "")

    return Dataset.from_list(
        [{"prompt": tokenizer.decode(a[0]), "chosen": text(a), "rejected": text(b)} for a, b in made.pairs]
    )


def total(made: DPO, model: GPT2) -> tuple[torch.Tensor, dict[str, float]]:
    """Our loss of the whole batch, and its metrics."""
    batch = made.batch(0, 0)
    weights = made.loss_denominators(batch)
    terms = made.loss(model, on_device(batch, torch.device("cpu")))
    shares = [made.coefficients[k] * value / weights[k] for k, value in terms.loss_sum.items()]
    means = {name: float(value) / weight for name, (value, weight) in terms.metrics.items()}
    return torch.stack(shares).sum(), means


def assert_same(made: DPO, policy: GPT2, other: Any, their_loss: torch.Tensor) -> dict[str, float]:
    """Loss and every gradient to 1e-5, relative to the gradient's norm."""
    their_loss.backward()
    loss, means = total(made, policy)
    loss.backward()
    assert loss.item() == pytest.approx(their_loss.item(), rel=1e-5)
    gradients = {name: p.grad for name, p in other.named_parameters()}
    whole = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    for name, parameter in policy.named_parameters():
        difference = (parameter.grad - gradients[name]).norm()
        assert difference <= 1e-5 * gradients[name].norm() + 1e-6 * whole, name
    return means


LOSSES = {
    "sigmoid": ({}, ["sigmoid"], {}),
    "ipo": ({"loss": "ipo"}, ["ipo"], {}),
    "hinge": ({"loss": "hinge"}, ["hinge"], {}),
    "normalized": ({"length_normalized": "yes"}, ["sigmoid_norm"], {}),
    "rpo": ({"sft_coef": 0.2}, ["sigmoid", "sft"], {"loss_weights": [1.0, 0.2]}),
    "ipo with sft": ({"loss": "ipo", "sft_coef": 0.5}, ["ipo", "sft"], {"loss_weights": [1.0, 0.5]}),
    "hinge with sft": ({"loss": "hinge", "sft_coef": 0.5}, ["hinge", "sft"], {"loss_weights": [1.0, 0.5]}),
    "normalized with sft": (
        {"length_normalized": "yes", "sft_coef": 0.3},
        ["sigmoid_norm", "sft"],
        {"loss_weights": [1.0, 0.3]},
    ),
}


def dpo_referee(
    made: DPO, policy: GPT2, args: Any, tokenizer: Tokenizer, trl_tokenizer: Any
) -> tuple[Any, Any]:
    """TRL's trainer of the same weights beside the same reference, and all pairs as its batch."""
    from trl import DPOTrainer

    referee = DPOTrainer(
        model=theirs(policy),
        ref_model=theirs(ours(3.0)),
        args=args,
        train_dataset=rows(made, tokenizer, with_end=False),
        processing_class=trl_tokenizer,
    )
    referee.model.train()
    return referee, referee.data_collator([referee.train_dataset[i] for i in range(len(PAIRS))])


@pytest.mark.parametrize(
    ("name", "packing"), [*((name, False) for name in LOSSES), ("rpo", True), ("normalized", True)]
)
def test_losses_with_a_reference(
    name: str, packing: bool, tokenizer: Tokenizer, trl_tokenizer: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    from trl import DPOConfig

    options, loss_type, more = LOSSES[name]
    made = our_objective(tokenizer, monkeypatch, beta=0.3, packing=packing, **options)
    policy = ours(3.1)
    args = DPOConfig(output_dir=str(tmp_path), loss_type=loss_type, beta=0.3, **QUIET, **more)
    referee, batch = dpo_referee(made, policy, args, tokenizer, trl_tokenizer)
    other = referee.model
    means = assert_same(made, policy, other, referee.compute_loss(other, batch))
    logged = referee._metrics["train"]
    for metric in ("logps/chosen", "logps/rejected"):
        assert means[metric] == pytest.approx(logged[metric][-1], rel=1e-5)
    if name == "sigmoid":  # TRL logs the rewards of plain DPO whatever the loss
        for metric in ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"):
            assert means[metric] == pytest.approx(logged[metric][-1], rel=1e-4), metric


def test_ipo_that_is_not_divided_by_length(
    tokenizer: Tokenizer, trl_tokenizer: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """TRL divides always; where all answers have L tokens, ours at beta is L^2 times its loss at beta * L."""
    from trl import DPOConfig

    pairs = [Pair(f"Who is {i}?", "", f"It is {i}.", f"It is {i + 1}.") for i in range(1, 1 + len(PAIRS))]
    made = our_objective(tokenizer, monkeypatch, pairs, loss="ipo", length_normalized="no", beta=0.3)
    [length] = {len(answer) for pair in made.pairs for _, answer in pair}
    policy = ours(3.1)
    args = DPOConfig(output_dir=str(tmp_path), loss_type="ipo", beta=0.3 * length, **QUIET)
    referee, batch = dpo_referee(made, policy, args, tokenizer, trl_tokenizer)
    assert_same(made, policy, referee.model, length**2 * referee.compute_loss(referee.model, batch))


REFERENCE_FREE = {
    "simpo": ({"loss": "simpo", "beta": 2.0, "gamma": 0.5}, {"loss_type": "simpo", "simpo_gamma": 0.5, "beta": 2.0}),
    "smoothed simpo": (
        {"loss": "simpo", "beta": 2.0, "gamma": 1.0, "label_smoothing": 0.2},
        {"loss_type": "simpo", "simpo_gamma": 1.0, "beta": 2.0, "label_smoothing": 0.2},
    ),
    "simpo with sft": (
        {"loss": "simpo", "beta": 2.0, "gamma": 0.5, "sft_coef": 0.4},
        {"loss_type": "simpo", "simpo_gamma": 0.5, "beta": 2.0, "cpo_alpha": 0.4},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCE_FREE)
def test_losses_without_a_reference(
    name: str, tokenizer: Tokenizer, trl_tokenizer: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    options, more = REFERENCE_FREE[name]
    made = our_objective(tokenizer, monkeypatch, **options)
    policy = ours(3.1)
    other = theirs(policy)
    settings = {"cpo_alpha": 0.0, "max_completion_length": None, **QUIET, **more}
    args = CPOConfig(output_dir=str(tmp_path), **settings)
    referee = CPOTrainer(
        model=other,
        args=args,
        train_dataset=rows(made, tokenizer, with_end=False),
        processing_class=trl_tokenizer,
    )
    batch = referee.data_collator([referee.train_dataset[i] for i in range(len(PAIRS))])
    other.train()
    loss, _ = referee.get_batch_loss_metrics(other, batch, train_eval="train")
    assert_same(made, policy, other, loss)


def test_at_the_reference_the_loss_is_log_two(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    for reference in ("cached", "live"):
        made = our_objective(tokenizer, monkeypatch, reference=reference)
        loss, means = total(made, ours(3.0))
        assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
        assert means["rewards/margins"] == pytest.approx(0, abs=1e-4)
        assert max(means["kl/chosen"], means["kl/rejected"]) == pytest.approx(0, abs=1e-6)
