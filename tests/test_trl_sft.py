"""Supervised fine-tuning against TRL's SFTTrainer: same model, same batch, same loss and every gradient."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from objectives_helpers import objective_of
from transformers import GPT2Config as HFConfig
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from neogpt.config import BatchConfig, GPT2Config
from neogpt.model import GPT2
from neogpt.objectives import sft
from neogpt.objectives.batching import on_device
from neogpt.objectives.sft.objective import SFT
from neogpt.records import Instruction
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import Turn

pytest.importorskip("trl", reason="TRL, the referee, is not installed (pip install 'neogpt[dev]')")
pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's own

SHAPE = GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=128, vocab_size=400)
ITEMS = [
    Instruction(f"Who is {'she and ' * (i % 4)}number {i}?", "By the sea." * (i % 2), f"It is {i}. " * (1 + i % 3))
    for i in range(8)
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["Who is she and number 12345678? By the sea. It is. Response: Context:"] * 4, 400)


def sides(scale: float) -> tuple[GPT2, GPT2LMHeadModel]:
    """Our model and transformers', with the same weights, larger than at birth."""
    ours = GPT2(SHAPE, seed=5)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.mul_(scale)
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    theirs = GPT2LMHeadModel(HFConfig(**dataclasses.asdict(SHAPE), **off, bos_token_id=0, eos_token_id=0))
    theirs.load_state_dict(ours.state_dict(), strict=False)
    return ours, theirs


def trl_tokenizer(tokenizer: Tokenizer, folder: Path) -> PreTrainedTokenizerFast:
    tokenizer.save(folder)
    loaded: Any = PreTrainedTokenizerFast.from_pretrained(folder)
    loaded.pad_token = loaded.eos_token
    return loaded


def trainer(theirs: Any, tokenizer: Any, rows: list[dict[str, Any]], folder: Path, **options: Any) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    quiet = {"report_to": "none", "use_cpu": True, "bf16": False, "gradient_checkpointing": False}
    args = SFTConfig(
        output_dir=str(folder),
        max_length=None,
        per_device_train_batch_size=len(rows),
        max_steps=1,
        save_strategy="no",
        disable_tqdm=True,
        **quiet,
        **options,
    )
    return SFTTrainer(
        model=theirs, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )


def our_objective(tokenizer: Tokenizer, patch: pytest.MonkeyPatch, items: Any, **options: Any) -> SFT:
    return objective_of(
        "sft",
        sft.Config(max_tokens=128, val_fraction=0.0, **options),
        items,
        tokenizer,
        patch,
        shape=SHAPE,
        batch=BatchConfig(size=len(items), micro_batches=1),
        steps=1,
    )


def assert_same(made: SFT, ours: GPT2, theirs: Any, referee: Any) -> None:
    """Loss and every gradient to 1e-5; the ids and the mask that TRL's collator makes are ours too."""
    batch = referee.data_collator([referee.train_dataset[i] for i in range(len(made.examples))])
    counted = sorted(int(n) for n in (batch["labels"][:, 1:] != -100).sum(1))
    assert counted == sorted(sum(len(part) for part in row[1::2]) for row in made.examples)
    theirs.train()
    their_loss = referee.compute_loss(theirs, batch)
    their_loss.backward()

    micro = made.batch(0, 0)
    weight = made.loss_denominators(micro)["sft"]
    our_loss = made.loss(ours, on_device(micro, torch.device("cpu"))).loss_sum["sft"] / weight
    our_loss.backward()
    assert our_loss.item() == pytest.approx(their_loss.item(), rel=1e-5)
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        difference = (parameter.grad - gradients[name]).norm()
        assert difference <= 1e-5 * gradients[name].norm() + 1e-8, name


@pytest.mark.parametrize("packing", [False, True])
def test_responses_only(
    packing: bool, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL's completion-only loss on the same prompts; it adds the end-of-text itself, as we do."""
    made = our_objective(tokenizer, monkeypatch, ITEMS, packing=packing)
    ours, theirs = sides(3.0)
    rows = [
        {"prompt": tokenizer.decode(row[0]), "completion": tokenizer.decode(row[1][:-1])}
        for row in made.examples
    ]
    theirs_tokenizer = trl_tokenizer(tokenizer, tmp_path / "tokenizer")
    referee = trainer(theirs, theirs_tokenizer, rows, tmp_path, completion_only_loss=True)
    assert_same(made, ours, theirs, referee)


def test_all_tokens(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = our_objective(tokenizer, monkeypatch, ITEMS, learn="all")
    ours, theirs = sides(3.0)
    rows = [{"text": tokenizer.decode([*row[0], *row[1][:-1]])} for row in made.examples]
    referee = trainer(theirs, trl_tokenizer(tokenizer, tmp_path / "tokenizer"), rows, tmp_path)
    assert_same(made, ours, theirs, referee)


def test_every_answer_of_a_conversation(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL on ids and masks that are written out here by hand."""
    turns = [
        (Turn("Who is she?", "", "It is 1."),),
        (Turn("Who is 2?", "", "She."), Turn("And 3?", "", "It is 3.")),
    ]
    items = [Instruction("Who is by the sea?", "", f"She and {i}.", "", turn) for i, turn in enumerate(turns)]
    made = our_objective(tokenizer, monkeypatch, items)
    ours, theirs = sides(3.0)
    eot = "<|endoftext|>"
    rows = []
    for item in items:
        ids, mask = [], []
        for i, turn in enumerate([*item.history, item]):
            asked = tokenizer.encode(f"{turn.instruction}\nResponse:\n")
            answer = [*tokenizer.encode(turn.response), tokenizer.eot_id]
            asked = [tokenizer.eot_id, *asked] if i == 0 else asked
            ids += asked + answer
            mask += [0] * len(asked) + [1] * len(answer)
        rows.append({"input_ids": ids, "completion_mask": mask})
    theirs_tokenizer = trl_tokenizer(tokenizer, tmp_path / "tokenizer")
    assert theirs_tokenizer.eos_token == eot
    referee = trainer(theirs, theirs_tokenizer, rows, tmp_path, completion_only_loss=True)
    assert_same(made, ours, theirs, referee)
