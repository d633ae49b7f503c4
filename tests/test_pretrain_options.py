"""What `-fast` may change in pretraining: sequences that grow, first weights, the rate of the embeddings."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from test_objectives import SHAPE, settings

from neogpt import optim
from neogpt.config import OptimConfig
from neogpt.data.build_tokenizer import tokenizer_for
from neogpt.model import GPT2
from neogpt.objectives import pretrain
from neogpt.objectives.batching import on_device
from neogpt.objectives.pretrain.objective import Pretrain
from neogpt.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    run = settings("pretrain", pretrain.Config())
    return tokenizer_for(run.data, run.source)


def objective(tokenizer: Tokenizer, **options: Any) -> Pretrain:
    run = settings("pretrain", pretrain.Config(seq_len=32, **options))
    return Pretrain(dataclasses.replace(run, steps=12), tokenizer, 96)


def test_growing_sequences_are_the_same_tokens_in_shorter_rows(tokenizer: Tokenizer) -> None:
    whole, growing = objective(tokenizer), objective(tokenizer, seq_len_warmup=0.5)
    widths = []
    for step in range(12):
        for micro in range(2):
            short, full = growing.batch(step, micro), whole.batch(step, micro)
            for name in ("tokens", "targets", "weights"):
                np.testing.assert_array_equal(getattr(short, name).ravel(), getattr(full, name).ravel())
            # A target is the token that follows, also where a window was cut.
            np.testing.assert_array_equal(short.targets[:, :-1], short.tokens[:, 1:])
        widths.append(short.tokens.shape[1])
    assert widths == [4, 4, 8, 8, 16, 16, 32, 32, 32, 32, 32, 32]


def test_without_growth_every_row_is_whole(tokenizer: Tokenizer) -> None:
    assert {objective(tokenizer).batch(step, 0).tokens.shape for step in range(3)} == {(4, 32)}


def test_lengths_that_do_not_halve_stay_whole(tokenizer: Tokenizer) -> None:
    run = settings("pretrain", pretrain.Config(seq_len=25, seq_len_warmup=1.0))
    assert Pretrain(run, tokenizer, 96).batch(0, 0).tokens.shape == (4, 25)


def test_documents_read_alone_are_each_a_sequence_of_its_own(tokenizer: Tokenizer) -> None:
    """The loss of a batch is the sum of those of its documents' pieces, each given to the model by itself."""
    alone, whole = objective(tokenizer, intra_document_mask=True), objective(tokenizer)
    model = GPT2(dataclasses.replace(SHAPE, vocab_size=tokenizer.vocab_size)).double()
    loss = alone.loss(model, on_device(alone.batch(0, 1), torch.device("cpu"))).loss_sum["loss"]
    batch, expected, pieces = whole.batch(0, 1), 0.0, 0
    for tokens, targets in zip(batch.tokens, batch.targets, strict=True):
        starts = sorted({0, *np.flatnonzero(tokens == tokenizer.eot_id).tolist()})
        for start, end in itertools.pairwise([*starts, len(tokens)]):
            logits = model(torch.tensor(tokens[None, start:end]))[0]
            wanted = torch.tensor(targets[start:end])
            expected += torch.nn.functional.cross_entropy(logits, wanted, reduction="sum").item()
            pieces += 1
    assert pieces > len(batch.tokens)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert alone.loss_denominators(alone.batch(0, 1)) == whole.loss_denominators(batch)


def test_silent_residual_weights_make_every_block_the_identity() -> None:
    model = GPT2(SHAPE, seed=3)
    tokens = torch.arange(20)[None]
    embedded = model.transformer.wte(tokens) + model.transformer.wpe.weight[:20]
    assert not torch.allclose(model.hidden(tokens), model.transformer.ln_f(embedded))
    before = {name: p.clone() for name, p in model.named_parameters() if not name.endswith("c_proj.weight")}
    model.init_weights(3, "zero-residual")
    torch.testing.assert_close(model.hidden(tokens), model.transformer.ln_f(embedded))
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters() if name in before)


def test_beside_muon_adamw_may_have_its_own_rate() -> None:
    model = GPT2(SHAPE)
    config = OptimConfig(name="muon", embedding_lr_scale=0.25, vector_lr_scale=0.5)
    muon, adamw = optim.build(list(model.named_parameters()), config)
    optim.set_lr([muon, adamw], 0.4)
    assert {group["lr"] for group in muon.param_groups} == {0.4}
    rates = {parameter.ndim: group["lr"] for group in adamw.param_groups for parameter in group["params"]}
    assert rates == {2: 0.1, 1: 0.2}
