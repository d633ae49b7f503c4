"""Supervised fine-tuning: packing, conversations, what is held out, and what is left out and counted."""

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from objectives_helpers import objective_of, scaled
from transformers import GPT2Config as HFConfig
from transformers import GPT2LMHeadModel

from neogpt.config import BatchConfig, EvalConfig, GPT2Config
from neogpt.data.split import copies
from neogpt.errors import ConfigError, DataError
from neogpt.model import GPT2
from neogpt.objectives import sft
from neogpt.objectives.batching import n_rows, n_tokens, on_device, pack, pad
from neogpt.objectives.sft.objective import SFT
from neogpt.recipes import sft_dolly
from neogpt.records import Instruction
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import Turn, encode_prompt, encode_response
from neogpt.train.parallel.distributed import World
from neogpt.train.validation import validate

SHAPE = GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=96, vocab_size=400)
CPU = torch.device("cpu")
PAGE = Path(__file__).parent.parent / "docs" / "post-training.md"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    words = "Where does she live? Response: In Rome, by the sea. Context: Who asks? Nobody. Say it again and again."
    return Tokenizer.train([words] * 4, 400)


@pytest.fixture(scope="module")
def model() -> GPT2:
    """Larger weights than at birth, so that attention between documents would show."""
    return scaled(SHAPE, 1, 4)


def objective(
    tokenizer: Tokenizer, items: list[Instruction], monkeypatch: pytest.MonkeyPatch, **options: Any
) -> SFT:
    return objective_of(
        "sft",
        sft.Config(**{"max_tokens": 96, "val_fraction": 0.0, **options}),
        items,
        tokenizer,
        monkeypatch,
        shape=SHAPE,
        batch=BatchConfig(size=8, micro_batches=2),
        steps=2,
        eval=EvalConfig(every=0, val_samples=8),
    )


def questions(n: int) -> Iterator[Instruction]:
    for i in range(n):
        yield Instruction(
            f"Who is {'she and ' * (i % 5)}number {i}?", "", "Nobody. " * (i % 7) + f"It is {i}."
        )


# --- packing -----------------------------------------------------------------------------------------------


def losses_and_gradients(model: GPT2, made: SFT, micro: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    batch = on_device(made.batch(1, micro), CPU)
    loss = made.loss(model, batch).loss_sum["sft"]
    return loss.detach(), list(torch.autograd.grad(loss, list(model.parameters())))


def one_by_one(model: GPT2, rows: list[tuple[list[int], ...]]) -> torch.Tensor:
    """Each example alone in a plain forward pass of transformers, nothing shared with the code under test."""
    reference = GPT2LMHeadModel(HFConfig(**dataclasses.asdict(SHAPE), attn_implementation="eager")).eval()
    reference.load_state_dict(model.state_dict(), strict=False)
    total = torch.zeros((), dtype=torch.float64)
    for row in rows:
        ids = torch.tensor([[token for part in row for token in part]])
        nll = -reference(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        learned = [i % 2 for i, part in enumerate(row) for _ in part][1:]
        total += (nll * torch.tensor(learned)).double().sum()
    return total


@pytest.mark.parametrize("micro", [0, 1])
def test_packed_padded_and_one_by_one_are_the_same(
    micro: int, tokenizer: Tokenizer, model: GPT2, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = list(questions(30))
    padded = objective(tokenizer, items, monkeypatch)
    packed = objective(tokenizer, items, monkeypatch, packing=True)
    loss, gradients = losses_and_gradients(model, padded, micro)
    packed_loss, packed_gradients = losses_and_gradients(model, packed, micro)
    torch.testing.assert_close(packed_loss, loss, rtol=1e-6, atol=0)
    for ours, theirs in zip(packed_gradients, gradients, strict=True):
        assert (ours - theirs).norm() <= 1e-6 * theirs.norm() + 1e-6
    batch = packed.batch(1, micro)
    rows = _rows_of(batch)
    assert len(rows) == n_rows(batch) == 4
    assert packed_loss.item() == pytest.approx(one_by_one(model, rows).item(), rel=1e-6)
    assert padded.loss_denominators(padded.batch(1, micro)) == packed.loss_denominators(batch)
    assert n_tokens(padded.batch(1, micro)) == n_tokens(batch) == batch.tokens.size  # nothing is padding


def _rows_of(batch: Any) -> list[tuple[list[int], ...]]:
    """(prompt, response) of each packed example, from the numbers alone."""
    ends = np.cumsum(batch.extra["lengths"])
    rows = []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        ids = [*batch.tokens[0, start:end].tolist(), int(batch.targets[0, end - 1])]
        first = int(np.flatnonzero(batch.weights[0, start:end])[0]) + 1
        rows.append((ids[:first], ids[first:]))
    return rows


def test_a_packed_document_sees_no_other(model: GPT2) -> None:
    rows = [([1, 2, 3], [4, 5]), ([6], [7, 8, 9]), ([10, 11], [12])]
    batch = on_device(pack(rows, 0), CPU)
    changed = on_device(pack([rows[0], ([60], [70, 80, 90]), rows[2]], 0), CPU)
    one = model.hidden(batch.tokens, lengths=batch.extra["lengths"])[0]
    other = model.hidden(changed.tokens, lengths=changed.extra["lengths"])[0]
    torch.testing.assert_close(one[:4], other[:4], rtol=0, atol=0)
    torch.testing.assert_close(one[7:], other[7:], rtol=0, atol=0)
    assert (one[4:7] - other[4:7]).abs().min() > 0


def test_packed_rows_may_be_longer_together_than_the_context_but_not_alone(model: GPT2) -> None:
    batch = on_device(pack([([1], [2] * 80)] * 3, 0), CPU)
    assert model.hidden(batch.tokens, lengths=batch.extra["lengths"]).shape == (1, 240, 32)
    long = on_device(pack([([1], [2] * 97)], 0), CPU)
    with pytest.raises(ConfigError, match="97 tokens"):
        model.hidden(long.tokens, lengths=long.extra["lengths"])


# --- conversations -----------------------------------------------------------------------------------------


def test_every_answer_of_a_conversation_is_learned_and_no_question(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = (Turn("Who asks?", "", "Nobody."), Turn("Where?", "By the sea.", "In Rome."))
    made = objective(tokenizer, [Instruction("Say it again.", "", "Again.", "", history)], monkeypatch)
    [row] = made.examples
    batch = pad([row], tokenizer.eot_id, 0)
    learned = batch.targets[0][batch.weights[0] > 0].tolist()
    assert tokenizer.decode(learned).split("<|endoftext|>") == ["Nobody.", "In Rome.", "Again.", ""]
    whole = encode_prompt(tokenizer, "Say it again.", "", history)
    assert [token for part in row for token in part][: len(whole)] == whole


@pytest.mark.parametrize(
    ("learn", "unlearned", "expected"),
    [
        ("responses", (), (0, 1, 2)),
        ("responses", (1,), (0, 2)),
        ("responses", (0, 1), (2,)),
        ("last", (), (2,)),
    ],
)
def test_answers_that_are_not_to_be_learned_stand_before_those_that_are(
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    learn: str,
    unlearned: tuple[int, ...],
    expected: tuple[int, ...],
) -> None:
    """The ids are those of the whole conversation; the loss is over the answers that count, and nothing else."""
    turns = [Turn(f"Who is {i}?", "", f"It is {i}.", i not in unlearned) for i in range(3)]
    item = Instruction(turns[2].instruction, "", turns[2].response, history=tuple(turns[:2]))
    made = objective(tokenizer, [item], monkeypatch, learn=learn)
    (row,) = made.examples
    found = [tokenizer.decode(part).removesuffix("<|endoftext|>") for part in row[1::2]]
    assert found == [turns[i].response for i in expected]
    whole = encode_prompt(tokenizer, *turns[2][:2], turns[:2]) + encode_response(tokenizer, turns[2].response)
    assert [token for part in row for token in part] == whole
    weights = made.batch(0, 0).weights[0]
    assert int(weights.sum()) == sum(len(encode_response(tokenizer, turns[i].response)) for i in expected)


@pytest.mark.parametrize(("n_positions", "width"), [(1024, 64), (64, 64), (40, 40), (33, 33), (0, 33)])
def test_padded_rows_have_even_lengths_where_the_context_has_room(n_positions: int, width: int) -> None:
    rows = [([1] * 30, [2, 3, 4, 5]), ([6, 7], [8])]
    batch = pad(rows, 9, n_positions)
    assert batch.tokens.shape == batch.targets.shape == batch.weights.shape == (2, width)
    for i, (prompt, answer) in enumerate(rows):
        ids, end = prompt + answer, len(prompt + answer) - 1
        assert batch.tokens[i].tolist() == ids[:-1] + [9] * (width - end)
        assert batch.targets[i].tolist() == ids[1:] + [9] * (width - end)
        assert batch.weights[i].nonzero()[0].tolist() == list(range(len(prompt) - 1, end))
    assert n_tokens(batch) == 33 + 2


def test_a_long_conversation_loses_its_end_and_never_ends_in_a_question(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = tuple(Turn("Who asks?", "", f"Nobody, {i} times.") for i in range(30))
    made = objective(tokenizer, [Instruction("And now?", "", "No.", "", turns)], monkeypatch)
    [row] = made.examples
    assert len(row) % 2 == 0
    assert row[-1]
    assert sum(map(len, row)) <= 97
    assert made.data_counts["truncated"] == 1


def test_all_tokens_are_learned_on_request(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [Instruction("Who asks?", "", "Nobody.")]
    row = objective(tokenizer, items, monkeypatch).examples[0]
    everything = objective(tokenizer, items, monkeypatch, learn="all").examples[0]
    batch = pad([everything], tokenizer.eot_id, 0)
    assert batch.weights.all()
    assert [*everything[0], *batch.targets[0].tolist()] == [*row[0], *row[1]]


def test_where_all_is_learned_a_cut_question_is_too(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut in the middle of the second question: all that fits stays, and the lost answer is counted."""
    item = Instruction("Who asks? " * 40, "", "Me.", "", (Turn("Who?", "", "Nobody."),))
    short = objective(tokenizer, [item], monkeypatch)
    whole = objective(tokenizer, [item], monkeypatch, learn="all")
    assert short.data_counts["truncated"] == whole.data_counts["truncated"] == 1
    assert tokenizer.decode(short.examples[0][-1]).startswith("Nobody.")
    ids = [token for part in whole.examples[0] for token in part]
    assert len(ids) == 97
    assert ids == encode_prompt(tokenizer, item.instruction, "", item.history)[:97]


# --- what is held out, and what is left out ----------------------------------------------------------------


def test_no_prompt_is_on_both_sides_even_when_white_space_hides_it(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [Instruction(f"Who is {i}?" + " " * (i // 60), "", f"It is {i}.") for i in range(120)]
    items = [dataclasses.replace(item, instruction=item.instruction.replace(str(i), str(i % 60)))
             for i, item in enumerate(items)]  # fmt: skip
    made = objective(tokenizer, items, monkeypatch, val_fraction=0.3)
    train = {tuple(row[0]) for row in made.examples}
    test = {tuple(row[0]) for row in made.held_out}
    assert train
    assert test
    assert not train & test
    removed = 120 - len(made.examples) - len(made.held_out)
    assert removed == made.data_counts["also held out"] > 0


def test_conversations_that_begin_alike_stay_together(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [Turn(f"Who is {i}?", "", "Nobody.") for i in range(40)]
    items = [Instruction(more, "", "No.", "", (turn,)) for turn in first for more in ("Where?", "Who?")]
    items += [Instruction(turn.instruction, "", "She.") for turn in first]
    made = objective(tokenizer, items, monkeypatch, val_fraction=0.3)
    assert not {tuple(row[0]) for row in made.examples} & {tuple(row[0]) for row in made.held_out}
    assert len(made.held_out) % 3 == 0
    assert "also held out" not in made.data_counts


def test_blank_answers_and_long_prompts_are_refused_and_counted(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [
        Instruction("Who?", "", " \n"),
        Instruction("Who? " * 99, "", "She."),
        Instruction("Who?", "", "I."),
    ]
    notes = objective(tokenizer, items, monkeypatch).data_counts
    assert (notes["examples"], notes["filtered"]) == (1, 2)
    assert (notes["filtered, blank response"], notes["filtered, prompt too long"]) == (1, 1)
    with pytest.raises(DataError, match="blank response 1"):
        objective(tokenizer, items[:2], monkeypatch)


def test_a_weight_says_how_often_an_epoch_sees_a_row(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [dataclasses.replace(item, weight=2.5) for item in questions(200)]
    made = objective(tokenizer, items, monkeypatch, val_fraction=0.2)
    counts = {str(row): made.examples.count(row) for row in made.examples}
    assert set(counts.values()) == {2, 3}
    assert 0.35 < sum(n == 3 for n in counts.values()) / len(counts) < 0.65
    assert len(made.held_out) == len({str(row) for row in made.held_out})
    halved = [dataclasses.replace(item, weight=0.5) for item in questions(200)]
    fewer = objective(tokenizer, halved, monkeypatch, val_fraction=0.2)
    for few, many in ((fewer.held_out, made.held_out), (fewer.examples, list(counts))):
        assert 0.3 < len(few) / len(many) < 0.7
    assert [copies("x", weight) for weight in (0, 1, 3)] == [0, 1, 3]


@pytest.mark.slow
def test_padding_on_dolly_is_what_the_docs_say(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens computed for each useful one: padded to the context, and padded by length as the recipe's batches are."""
    monkeypatch.setenv("NEOGPT_DATA", str(real_data))
    run = dataclasses.replace(sft_dolly.sft(), steps=400)
    made = SFT(run, Tokenizer.gpt2(), 1024)
    computed, useful = 0, 0
    for step in range(made.n_samples // run.batch.size):
        for micro in range(run.batch.micro_batches):
            batch = made.batch(step, micro)
            computed, useful = computed + batch.tokens.size, useful + n_tokens(batch)
    lengths = [sum(map(len, row)) - 1 for row in made.examples]
    said = re.search(
        r"computes ([\d.]+) tokens for each useful one, padding by length ([\d.]+)", PAGE.read_text()
    )
    assert said
    assert float(said[1]) == round(1024 * len(lengths) / sum(lengths), 1)
    assert float(said[2]) == round(computed / useful, 1)
    assert str(len(lengths)) in PAGE.read_text().replace(",", "")


# --- held-out loss in bits per byte ---------------------------------------------------------------------------


@pytest.mark.parametrize("packing", [False, True])
def test_bits_per_byte_are_those_of_the_answers(
    tokenizer: Tokenizer, model: GPT2, monkeypatch: pytest.MonkeyPatch, packing: bool
) -> None:
    """Counted by hand: nats of the held-out answers, one by one in transformers, over the bytes of their texts."""
    items = [dataclasses.replace(item, response=f"{item.response} \u00e9\u4e2d") for item in questions(90)]
    made = objective(tokenizer, items, monkeypatch, val_fraction=0.2, packing=packing)
    rows = made.held_out[:8]
    assert len(rows) == 8
    answers = [tokenizer.decode(row[1][:-1]) for row in rows]
    assert {item.response for item in items} >= set(answers)
    n_bytes = sum(len(answer.encode()) for answer in answers)
    run = dataclasses.replace(made.run, device="cpu", dtype="float32")
    found = validate(model, made, run, World())
    bits = one_by_one(model, rows).item() / math.log(2) / n_bytes
    assert found["val_bpb"] == pytest.approx(bits, rel=1e-6)
