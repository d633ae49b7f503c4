"""The key-value cache: what it remembers is what a whole forward would compute, row by row."""

import random

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from neogpt.config import GPT2Config
from neogpt.errors import ConfigError
from neogpt.inference.forward import Inference
from neogpt.inference.kernels import cached_attention
from neogpt.inference.kv_cache import KVCache
from neogpt.model import GPT2

CONFIG = GPT2Config(n_layer=3, n_head=4, n_embd=64, n_positions=40, vocab_size=101)


@pytest.fixture(scope="module")
def model() -> GPT2:
    model = GPT2(CONFIG, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.requires_grad_(False)


def text(n: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(CONFIG.vocab_size), k=n)


def padded(rows: list[list[int]]) -> Tensor:
    length = max(map(len, rows))
    return torch.tensor([row + [0] * (length - len(row)) for row in rows])


def forward(model: GPT2, tokens_BT: Tensor, cache: KVCache) -> Tensor:
    """Logits (B, T, V) of tokens that follow what the cache holds."""
    inference = Inference(model)
    return inference.logits(inference.hidden(tokens_BT, cache))


def check(logits_BTV: Tensor, model: GPT2, rows: list[list[int]], new: list[int]) -> None:
    """The last `new` logits of each row are those of a forward without a cache."""
    for logits_TV, row, n in zip(logits_BTV, rows, new, strict=True):
        expected = model(torch.tensor([row]))[0, -n:]
        assert (logits_TV[:n] - expected).abs().max() <= 2e-5


def test_ragged_prompts_then_token_by_token_to_the_end(model: GPT2) -> None:
    rows = [text(40, seed) for seed in range(4)]
    lengths = [5, 17, 1, 9]
    cache = KVCache(CONFIG, 4, 40)
    prompts = [row[:n] for row, n in zip(rows, lengths, strict=True)]
    check(forward(model, padded(prompts), cache), model, prompts, lengths)
    cache.advance(lengths)
    assert cache.lengths_B.tolist() == lengths
    for _ in range(40 - max(lengths)):
        lengths = [n + 1 for n in lengths]
        seen = [row[:n] for row, n in zip(rows, lengths, strict=True)]
        check(forward(model, padded([row[-1:] for row in seen]), cache), model, seen, [1] * 4)
        cache.advance(1)


@pytest.mark.parametrize("seed", range(3))
def test_random_rows_pieces_and_replacements(model: GPT2, seed: int) -> None:
    """Continuous batching by dice: some rows get several tokens, some none, finished ones new prompts."""
    dice = random.Random(seed)
    cache = KVCache(CONFIG, 5, 30)
    held: list[list[int]] = [[] for _ in range(5)]
    for turn in range(25):
        rows = sorted(dice.sample(range(5), dice.randint(1, 5)), key=lambda _: dice.random())
        fresh = [row for row in rows if len(held[row]) > 24 or dice.random() < 0.15]
        cache.reset(fresh)
        for row in fresh:
            held[row] = []
        pieces = [text(dice.randint(1, 5), 1000 * turn + row) for row in rows]
        for row, piece in zip(rows, pieces, strict=True):
            held[row] = held[row] + piece
        view = cache if rows == list(range(5)) else cache.select(rows)
        logits = forward(model, padded(pieces), view)
        check(logits, model, [held[row] for row in rows], [len(piece) for piece in pieces])
        view.advance([len(piece) for piece in pieces])
        assert cache.lengths_B.tolist() == [len(row) for row in held]


def test_padding_beyond_the_end_harms_nobody(model: GPT2) -> None:
    cache = KVCache(CONFIG, 2, 12)
    long, short = text(12, 0), text(6, 1)
    forward(model, padded([long[:10], short[:2]]), cache)
    cache.advance([10, 2])
    # Four columns: the first row has room for two; its padding would be tokens 13 and 14.
    check(forward(model, padded([long[10:], short[2:]]), cache), model, [long, short], [2, 4])
    cache.advance([2, 4])
    assert cache.lengths_B.tolist() == [12, 6]
    view = cache.select([1])
    check(forward(model, torch.tensor([[7]]), view), model, [[*short, 7]], [1])


def test_what_a_row_held_before_does_not_show(model: GPT2) -> None:
    used, clean = KVCache(CONFIG, 2, 20), KVCache(CONFIG, 2, 20)
    forward(model, padded([text(20, 0), text(20, 1)]), used)
    used.advance(20)
    used.reset()
    prompts = [text(4, 2), text(7, 3)]
    assert torch.equal(forward(model, padded(prompts), used), forward(model, padded(prompts), clean))
    used.advance([4, 7])
    clean.advance([4, 7])
    step = torch.tensor([[3], [4]])
    assert torch.equal(forward(model, step, used), forward(model, step, clean))


def test_poison_in_unused_slots_is_never_read(model: GPT2) -> None:
    cache = KVCache(CONFIG, 3, 20)
    for name, value in vars(cache).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            getattr(cache, name).fill_(1e30)
    prompts = [text(3, 1), text(8, 2), text(5, 3)]
    check(forward(model, padded(prompts), cache), model, prompts, [3, 8, 5])
    cache.advance([3, 8, 5])
    check(
        forward(model, torch.tensor([[1], [2], [3]]), cache),
        model,
        [[*p, i + 1] for i, p in enumerate(prompts)],
        [1] * 3,
    )


def test_bfloat16_cache_is_near(model: GPT2) -> None:
    cache = KVCache(CONFIG, 1, 20, dtype=torch.bfloat16)
    row = text(10, 0)
    logits = forward(model, torch.tensor([row]), cache)
    assert logits.dtype == torch.float32
    assert (logits - model(torch.tensor([row]))).norm() <= 0.02 * logits.norm()
    with torch.autocast("cpu", torch.bfloat16):
        again = forward(model, torch.tensor([row]), KVCache(CONFIG, 1, 20, dtype=torch.bfloat16))
    assert (logits - again).norm() <= 0.02 * logits.norm()


def test_plain_masks_are_left_to_is_causal() -> None:
    cache = KVCache(CONFIG, 2, 20)
    assert cache.mask(7) is None  # empty rows
    cache.advance([4, 4])
    assert cache.mask(1) is None  # one token, equal rows
    assert cache.mask(2).shape == (2, 1, 2, 6)
    cache.advance([0, 1])
    mask = cache.mask(1)
    assert mask.dtype == torch.bool
    assert mask.sum((1, 2, 3)).tolist() == [5, 6]
    assert cache.positions(3).tolist() == [[4, 5, 6], [5, 6, 7]]


@pytest.mark.parametrize("length", [0, 41])
def test_refuses_a_length_the_model_has_no_positions_for(length: int) -> None:
    with pytest.raises(ConfigError, match=r"1 to n_positions = 40"):
        KVCache(CONFIG, 1, length)


def test_refuses_more_tokens_than_it_has_room_for() -> None:
    cache = KVCache(CONFIG, 2, 10)
    cache.advance([10, 3])
    with pytest.raises(ConfigError, match="max_length = 10"):
        cache.advance([1, 1])
    assert cache.lengths_B.tolist() == [10, 3]


@pytest.mark.parametrize("rows", [[2], [-1]])
def test_refuses_rows_that_there_are_not(rows: list[int]) -> None:
    cache = KVCache(CONFIG, 2, 10)
    for use in (cache.select, cache.reset):
        with pytest.raises(ConfigError, match="rows from 0 to 1"):
            use(rows)


def test_forked_rows_go_on_apart(model: GPT2) -> None:
    """Copies of a row continue differently, and neither they nor the row see each other."""
    shared, other = text(9, 1), text(4, 2)
    cache = KVCache(CONFIG, 2, 12)
    forward(model, padded([shared, other]), cache)
    cache.advance([9, 4])
    ends = [text(5, 3), text(2, 4), text(7, 5)]
    fork = cache.fork([0, 1, 0], 16)
    rows = [shared + ends[0], other + ends[1], shared + ends[2]]
    check(forward(model, padded(ends), fork), model, rows, [5, 2, 7])
    fork.advance([5, 2, 7])
    assert (fork.lengths_B.tolist(), cache.lengths_B.tolist()) == ([14, 6, 16], [9, 4])
    tail = text(2, 6)
    check(forward(model, padded([tail, tail]), cache), model, [shared + tail, other + tail], [2, 2])
    with pytest.raises(ConfigError, match="a row of 9 tokens in a cache"):
        cache.fork([0], 8)


@pytest.mark.parametrize("S", [1, 7])
def test_one_query_a_head_is_attention_as_pytorch_has_it(S: int) -> None:
    torch.manual_seed(S)
    q, k, v = torch.randn(3, 4, 1, 8), torch.randn(3, 4, S, 8), torch.randn(3, 4, S, 8)
    mask = torch.zeros(3, 1, 1, S)
    mask[1, ..., 1:] = -torch.inf
    for chosen in (None, mask):
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=chosen)
        torch.testing.assert_close(cached_attention(q, k, v, chosen), expected)


def test_products_in_bfloat16_are_those_of_autocast(model: GPT2) -> None:
    """Weights cast once multiply as autocast does; keys and values stay float32 on a CPU."""
    inference = Inference(model, torch.bfloat16)
    assert inference.cache_dtype == torch.float32
    row, cache = torch.tensor([text(12, 3)]), KVCache(CONFIG, 1, 20, inference.cache_dtype)
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(row)
    exact = model(row)
    pieces = []
    for piece in (row[:, :5], row[:, 5:6], row[:, 6:]):
        pieces.append(inference.logits(inference.hidden(piece, cache)))
        cache.advance(piece.shape[1])
    found = torch.cat(pieces, 1)
    assert (found - exact).norm() <= 1.2 * (expected - exact).norm()
    assert (found - expected).norm() <= 0.02 * expected.norm()
    assert not torch.equal(found, exact)
