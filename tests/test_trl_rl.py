"""Reinforcement learning against TRL's GRPOTrainer: same model, same answers, same loss and every gradient."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config as HFConfig
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from neogpt.config import GPT2Config
from neogpt.model import GPT2, log_probs
from neogpt.objectives import _grpo
from neogpt.objectives._base import on_device, pad
from neogpt.tokenizer import Tokenizer

pytest.importorskip("trl", reason="TRL, the referee, is not installed (pip install 'neogpt[dev]')")
pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's own

SHAPE = GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=64, vocab_size=400)
GROUP, LIMIT = 4, 12


def models() -> tuple[GPT2, GPT2, GPT2, GPT2LMHeadModel]:
    """Ours now, ours when it sampled, the reference, and transformers' twin of ours now."""
    ours, old, reference = (GPT2(SHAPE, seed) for seed in (5, 5, 5))
    dice = torch.Generator().manual_seed(1)
    for model, noise in ((old, 0.0), (reference, 0.02), (ours, 0.02)):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3).add_(torch.randn(parameter.shape, generator=dice), alpha=noise)
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    theirs = GPT2LMHeadModel(HFConfig(**dataclasses.asdict(SHAPE), **off, bos_token_id=0, eos_token_id=0))
    theirs.load_state_dict(ours.state_dict(), strict=False)
    return ours, old, reference, theirs


def answers() -> tuple[list[tuple[list[int], list[int]]], np.ndarray]:
    """Two prompts, four answers each of one to LIMIT tokens, and rewards.

    The prompts are equally long: TRL pads them on the left, which would move GPT-2's learned positions.
    """
    dice = np.random.default_rng(0)
    rows = [
        (prompt, dice.integers(0, 400, int(dice.integers(1, LIMIT + 1))).tolist())
        for prompt in (dice.integers(0, 400, 7).tolist(), dice.integers(0, 400, 7).tolist())
        for _ in range(GROUP)
    ]
    return rows, dice.normal(size=(2, GROUP))


def referee(theirs: Any, folder: Path, loss_type: str) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    Tokenizer.train(["some words to have a tokenizer"] * 4, 300).save(folder)
    theirs.save_pretrained(folder)
    theirs.config._name_or_path = str(folder)  # TRL reads its reference from there
    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    args = GRPOConfig(
        output_dir=str(folder),
        loss_type=loss_type,
        beta=0.04,
        use_bias_correction_kl=False,
        epsilon=0.2,
        epsilon_high=0.28,
        max_completion_length=LIMIT,
        num_generations=GROUP,
        per_device_train_batch_size=2 * GROUP,
        max_steps=1,
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=theirs,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=args,
        train_dataset=Dataset.from_list([{"prompt": "a"}] * 8),
        processing_class=tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def padded(rows: list[list[int]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """TRL's layout: prompts padded on the left, answers on the right."""
    width = max(map(len, rows))
    ids = [[0] * (width - len(r)) + r if left else r + [0] * (width - len(r)) for r in rows]
    mask = [
        [0] * (width - len(r)) + [1] * len(r) if left else [1] * len(r) + [0] * (width - len(r)) for r in rows
    ]
    return torch.tensor(ids), torch.tensor(mask)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_loss_and_gradients_are_trls(loss_type: Any, tmp_path: Path) -> None:
    """Off-policy by a step, so that ratios differ from 1 and some are clipped; with KL to a third model."""
    ours, old, reference, theirs = models()
    twin = copy.deepcopy(theirs)  # before the trainer binds the other's forward to itself
    rows, rewards_NG = answers()
    advantages_R = _grpo.advantages(rewards_NG, scale=loss_type != "dr_grpo").reshape(-1)
    trainer = referee(theirs, tmp_path, loss_type)
    prompt_ids, prompt_mask = padded([row[0] for row in rows], left=True)
    answer_ids, answer_mask = padded([row[1] for row in rows], left=False)

    def theirs_of(model: GPT2) -> torch.Tensor:
        """The model's log-probabilities laid out as TRL has them, from transformers alone."""
        twin.load_state_dict(model.state_dict(), strict=False)
        table = torch.zeros(answer_ids.shape)
        with torch.no_grad():
            for i, (prompt, answer) in enumerate(rows):
                logp = twin(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
                table[i, : len(answer)] = logp.gather(1, torch.tensor(answer)[:, None])[:, 0]
        return table

    theirs.train()
    their_loss = trainer._compute_loss(
        theirs,
        {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "completion_ids": answer_ids,
            "completion_mask": answer_mask,
            "advantages": torch.tensor(advantages_R, dtype=torch.float32),
            "old_per_token_logps": theirs_of(old),
            "ref_per_token_logps": theirs_of(reference),
            "num_items_in_batch": answer_mask.sum(),
        },
    )
    their_loss.backward()

    plain = pad(rows, 0)
    weights_RT = _grpo.token_weights(plain.weights, loss_type)
    batch = on_device(dataclasses.replace(plain, weights=weights_RT), torch.device("cpu"))
    with torch.no_grad():
        frozen = [log_probs(m, batch.tokens, batch.targets, batch.weights) for m in (old, reference)]
    logps_RT = log_probs(ours, batch.tokens, batch.targets, batch.weights)
    found = _grpo.terms(
        logps_RT,
        *frozen,
        torch.tensor(advantages_R, dtype=torch.float32),
        batch.weights,
        0.2,
        0.28,
    )
    loss = (found.policy + 0.04 * found.kl) / _grpo.total_weight(weights_RT, loss_type, LIMIT)
    loss.backward()
    assert found.clipped_RT.any(), "nothing is clipped: the test says nothing about clipping"
    assert loss.item() == pytest.approx(their_loss.item(), rel=1e-5)
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        difference = (parameter.grad - gradients[name]).norm()
        assert difference <= 1e-5 * gradients[name].norm() + 1e-7, name


def test_advantages_are_trls() -> None:
    """TRL: (r - mean) / (std + 1e-4), the deviation that of a sample."""
    rewards = torch.tensor([[0.0, 1.0, 0.5, 0.25], [2.0, 2.0, 2.0, 1.0]], dtype=torch.float64)
    expected = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    np.testing.assert_allclose(_grpo.advantages(rewards.numpy(), True), expected.numpy(), rtol=1e-12)
