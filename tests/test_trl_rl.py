"""Reinforcement learning against TRL's GRPOTrainer: same model, same answers, same loss and every gradient."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_objectives import SHAPE, base, settings, tokenizer  # noqa: F401
from test_objectives import _own_cache_for_module as _cache
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from neogpt.config import BatchConfig
from neogpt.model import GPT2, load_pretrained
from neogpt.objectives import rl
from neogpt.objectives.batching import on_device
from neogpt.objectives.rl import grpo
from neogpt.objectives.rl.objective import RL
from neogpt.objectives.rl.rewards import length
from neogpt.objectives.rl.rewards.base import Answer
from neogpt.objectives.rl.sampler import Prompt
from neogpt.tokenizer import Tokenizer
from neogpt.train import reduce
from neogpt.train.parallel.distributed import World

pytest.importorskip("trl", reason="TRL, the referee, is not installed (pip install 'neogpt[dev]')")
pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's own
_own_cache_for_module = _cache

PROMPTS, GROUP, LIMIT, BETA = 4, 4, 8, 0.04


@pytest.fixture(scope="module")
def referee(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: F811
    """TRL's trainer; each group is a micro-batch, of which it accumulates the gradients of a step."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(base)  # noqa: F811
    tokenizer.pad_token = tokenizer.eos_token
    args = GRPOConfig(
        output_dir=str(tmp_path_factory.mktemp("trl")),
        beta=BETA,
        use_bias_correction_kl=False,
        epsilon=0.2,
        epsilon_high=0.28,
        max_completion_length=LIMIT,
        num_generations=GROUP,
        per_device_train_batch_size=GROUP,
        gradient_accumulation_steps=PROMPTS,
        max_steps=1,
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=transformers_of(base),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=args,
        train_dataset=Dataset.from_list([{"prompt": "a"}] * 8),
        processing_class=tokenizer,
    )
    trainer.current_gradient_accumulation_steps = PROMPTS
    return trainer


def transformers_of(folder: Path) -> GPT2LMHeadModel:
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel.from_pretrained(folder, **off)


class Script:
    """Answers of one to LIMIT tokens, one by each request number; some are cut off. Notes what was asked."""

    def __init__(self, vocab_size: int) -> None:
        dice = np.random.default_rng(0)
        numbers = range(PROMPTS * GROUP)
        self.tokens = [
            dice.integers(0, vocab_size, int(dice.integers(1, LIMIT + 1))).tolist() for _ in numbers
        ]
        self.stopped = [bool(draw < 0.6) for draw in dice.random(len(numbers))]
        self.rewards = dice.normal(size=len(numbers)).tolist()
        self.asked: dict[int, list[int]] = {}

    def answers(self, model: GPT2, prompts: list[Prompt], seed: int, numbers: list[int]) -> list[Answer]:
        """In place of the sampler's."""
        self.asked |= {number: prompt.ids for number, prompt in zip(numbers, prompts, strict=True)}
        return [
            Answer(prompt.item, str(number), self.tokens[number], self.stopped[number], LIMIT)
            for number, prompt in zip(numbers, prompts, strict=True)
        ]

    def reward(self, answer: Answer, known: Any) -> float:
        """In place of a reward's."""
        return self.rewards[int(answer.text)]


def moved(model: GPT2, seed: int) -> dict[str, torch.Tensor]:
    """Weights a step away, as an update would leave them."""
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=dice), alpha=0.02)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def their_group(
    trainer: Any, script: Script, group: int, frozen: dict[str, GPT2LMHeadModel], **options: Any
) -> Any:
    """The trainer's loss of one group. Its prompts are equally long: TRL pads them on the left, which would move
    GPT-2's learned positions."""
    numbers = range(group * GROUP, (group + 1) * GROUP)
    answers = [torch.tensor(script.tokens[number]) for number in numbers]
    ids = torch.nn.utils.rnn.pad_sequence(answers, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(a) for a in answers], batch_first=True)
    prompt = torch.tensor([script.asked[number] for number in numbers])
    tables = {}
    for name, model in frozen.items():  # one at a time: nothing is shared with the trainer
        tables[name] = torch.zeros(ids.shape)
        for i, answer in enumerate(answers):
            with torch.no_grad():
                logits = model(torch.cat([prompt[i], answer])[None]).logits[0, prompt.shape[1] - 1 : -1]
            tables[name][i, : len(answer)] = logits.log_softmax(-1).gather(1, answer[:, None])[:, 0]
    rewards = torch.tensor([script.rewards[number] for number in numbers], dtype=torch.float64)
    advantages = (rewards - rewards.mean()) / ((rewards.std() + 1e-4) if options["scaled"] else 1.0)
    counted = torch.tensor([script.stopped[number] or not options["mask_truncated"] for number in numbers])
    return trainer._compute_loss(
        trainer.model,
        {
            "prompt_ids": prompt,
            "prompt_mask": torch.ones_like(prompt),
            "completion_ids": ids,
            "completion_mask": mask * counted[:, None],
            "advantages": advantages.float(),
            "old_per_token_logps": tables["old"],
            "ref_per_token_logps": tables["reference"],
            "num_items_in_batch": torch.tensor(options["n_items"]),
        },
    )


@pytest.mark.parametrize("mask_truncated", [False, True])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_loss_and_gradients_are_trls(
    loss_type: Any,
    mask_truncated: bool,
    referee: Any,
    tokenizer: Tokenizer,  # noqa: F811
    base: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second update from the same answers, in two micro-batches: three models, clipped ratios, other lengths."""
    model, script, scaled = load_pretrained(base), Script(tokenizer.vocab_size), loss_type != "dr_grpo"
    config = rl.Config(
        num_generations=GROUP,
        max_completion_length=LIMIT,
        rewards=("length:1",),
        loss_type=loss_type,
        scale_rewards=scaled,
        beta=BETA,
        updates_per_rollout=2,
        mask_truncated_completions=mask_truncated,
        sft_coef=0.0,
        sft_rows=4,
        val_fraction=0.3,
    )
    batch = BatchConfig(size=PROMPTS, micro_batches=2)
    made = RL(settings("rl", config, batch=batch), tokenizer, SHAPE.n_positions)
    made.prompts[:] = [Prompt(each.item, each.ids[: 5 + i % 7]) for i, each in enumerate(made.prompts)]
    made.begin(model)
    monkeypatch.setattr(made.sampler, "answers", script.answers)
    monkeypatch.setattr(length, "reward", script.reward)
    old = moved(model, 1)
    for micro in range(2):
        made.batch(0, micro)
    now = moved(model, 2)

    batches = [made.batch(1, micro) for micro in range(2)]
    totals = reduce.total_denominators([made.loss_denominators(each) for each in batches], World())
    terms = [made.loss(model, on_device(each, torch.device("cpu"))) for each in batches]
    loss = sum((reduce.scaled(each, made.coefficients, totals) for each in terms), torch.zeros(()))
    loss.backward()

    assert len({len(ids) for ids in script.asked.values()}) > 1
    assert sum(float(each.metrics["clip_share"][0]) for each in terms) > 0, "nothing is clipped"
    frozen = {name: transformers_of(base) for name in ("old", "reference")}
    frozen["old"].load_state_dict(old, strict=False)
    theirs, referee.loss_type = referee.model.train(), loss_type
    theirs.load_state_dict(now, strict=False)
    theirs.zero_grad()
    kept = [
        len(t)
        for t, stopped in zip(script.tokens, script.stopped, strict=True)
        if stopped or not mask_truncated
    ]
    shares = [
        their_group(
            referee,
            script,
            g,
            frozen,
            scaled=scaled,
            mask_truncated=mask_truncated,
            n_items=float(sum(kept)),
        )
        for g in range(PROMPTS)
    ]
    their_loss = torch.stack(shares).sum()
    their_loss.backward()
    assert loss.item() == pytest.approx(their_loss.item(), rel=1e-5)
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        difference = (parameter.grad - gradients[name]).norm()
        assert difference <= 1e-5 * gradients[name].norm() + 1e-7, name


def test_advantages_are_trls() -> None:
    """TRL: (r - mean) / (std + 1e-4), the deviation that of a sample."""
    rewards = torch.tensor([[0.0, 1.0, 0.5, 0.25], [2.0, 2.0, 2.0, 1.0]], dtype=torch.float64)
    expected = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    np.testing.assert_allclose(grpo.advantages(rewards.numpy(), True), expected.numpy(), rtol=1e-12)
