"""The network: the same function as transformers' GPT-2 to the last digits, causal, repeatable, well begun."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from neogpt.config import GPT2Config
from neogpt.errors import ConfigError
from neogpt.model import GPT2, cross_entropy_sum, save_pretrained

SIZES = [
    GPT2Config(n_layer=1, n_head=1, n_embd=8, n_positions=5, vocab_size=11),
    GPT2Config(n_layer=2, n_head=4, n_embd=64, n_positions=50, vocab_size=101),
    GPT2Config(n_layer=3, n_head=6, n_embd=96, n_positions=33, vocab_size=257),
    GPT2Config(n_layer=4, n_head=4, n_embd=128, n_positions=96, vocab_size=1055),
]
SMALL = SIZES[1]


def random_model(config: GPT2Config, seed: int = 0) -> GPT2:
    """A model whose biases and gains are random too, so that forgetting one of them shows."""
    model = GPT2(config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def random_tokens(config: GPT2Config, B: int, T: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, config.vocab_size, (B, T), generator=generator)


def relative(a: Tensor, b: Tensor) -> float:
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def step(model: GPT2, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
    """Mean loss of one training step; its gradients are left in the parameters."""
    model.zero_grad()
    weights_BT = torch.ones(targets_BT.shape, dtype=model.transformer.wte.weight.dtype)
    loss = cross_entropy_sum(model.hidden(tokens_BT), model.transformer.wte.weight, targets_BT, weights_BT)
    loss = loss / targets_BT.numel()
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 2e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("config", SIZES, ids=lambda c: f"{c.n_layer}x{c.n_embd}")
def test_logits_loss_and_every_gradient_are_transformers(
    config: GPT2Config, dtype: torch.dtype, limit: float, tmp_path: Path
) -> None:
    from transformers import GPT2LMHeadModel

    model = random_model(config)
    save_pretrained(model, tmp_path, eot_id=0)
    reference = GPT2LMHeadModel.from_pretrained(tmp_path).to(dtype).eval()
    model.to(dtype)
    tokens_BT = random_tokens(config, 3, config.n_positions)
    with torch.no_grad():
        assert relative(model(tokens_BT), reference(tokens_BT).logits) <= limit

    loss = step(model, tokens_BT[:, :-1], tokens_BT[:, 1:])
    # transformers' own loss is computed in float32, whatever the model.
    logits_BTV = reference(tokens_BT).logits[:, :-1]
    expected = F.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT[:, 1:].flatten())
    assert relative(loss, reference(tokens_BT, labels=tokens_BT).loss.detach()) <= 2e-6
    expected.backward()
    assert relative(loss, expected.detach()) <= limit
    gradients = {name: parameter.grad for name, parameter in reference.named_parameters()}
    assert gradients.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        assert relative(parameter.grad, gradients[name]) <= limit, name


def test_a_later_token_never_changes_an_earlier_logit() -> None:
    model = random_model(SMALL)
    tokens_BT = random_tokens(SMALL, 2, 40)
    changed_BT = tokens_BT.clone()
    changed_BT[:, 25:] = (changed_BT[:, 25:] + 7) % SMALL.vocab_size
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients), torch.autocast("cpu", torch.bfloat16):
            before, after = model(tokens_BT), model(changed_BT)
        assert torch.equal(before[:, :25], after[:, :25])
        assert not torch.equal(before[:, 25], after[:, 25])


def test_a_padded_batch_is_its_rows_alone() -> None:
    model = random_model(SMALL)
    lengths = [7, 40, 1, 23]
    tokens_BT, targets_BT = random_tokens(SMALL, 4, 40), random_tokens(SMALL, 4, 40, seed=2)
    weights_BT = torch.stack([(torch.arange(40) < n).float() for n in lengths])
    wte_VD = model.transformer.wte.weight
    whole = cross_entropy_sum(model.hidden(tokens_BT), wte_VD, targets_BT, weights_BT)
    whole.backward()
    together = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    parts = 0.0
    for b, n in enumerate(lengths):
        row = cross_entropy_sum(
            model.hidden(tokens_BT[b : b + 1, :n]), wte_VD, targets_BT[b : b + 1, :n], torch.ones(1, n)
        )
        row.backward()
        parts += row.item()
    assert whole.item() == pytest.approx(parts, rel=1e-6)
    for name, parameter in model.named_parameters():
        # Adding up four gradients rounds four times; a bias that should have none has only rounding.
        assert (parameter.grad - together[name]).norm() <= 5e-6 * together[name].norm() + 1e-6, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_step_gives_the_same_bits(dtype: torch.dtype) -> None:
    config = SIZES[3]
    tokens_BT, targets_BT = random_tokens(config, 8, 96), random_tokens(config, 8, 96, seed=2)
    results = []
    for _ in range(2):
        model = GPT2(config, seed=3)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = step(model, tokens_BT, targets_BT)
        results.append([loss, *(parameter.grad for parameter in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_bfloat16_gradients_are_as_near_the_truth_as_plain_pytorch() -> None:
    """The reference is the same network on PyTorch's own attention and GELU; the truth is in float64."""
    config = SIZES[3]
    model = random_model(config)
    tokens_BT, targets_BT = random_tokens(config, 4, 96), random_tokens(config, 4, 96, seed=2)
    step(model.double(), tokens_BT, targets_BT)
    truth = [p.grad for p in model.parameters()]
    model.float().zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        logits = F.linear(plain_hidden(model, tokens_BT), model.transformer.wte.weight)
        F.cross_entropy(logits.flatten(0, 1), targets_BT.flatten()).backward()
    plain = [p.grad for p in model.parameters()]
    with torch.autocast("cpu", torch.bfloat16):
        step(model, tokens_BT, targets_BT)
    for (name, parameter), p, t in zip(model.named_parameters(), plain, truth, strict=True):
        assert relative(parameter.grad, t) <= 1.25 * relative(p, t) + 1e-3, name


def plain_hidden(model: GPT2, tokens_BT: Tensor) -> Tensor:
    """GPT-2 written as a textbook would, over the model's parameters."""
    B, T = tokens_BT.shape
    x = model.transformer.wte(tokens_BT) + model.transformer.wpe(torch.arange(T))
    for block in model.transformer.h:
        n = F.linear(block.ln_1(x), block.attn.c_attn.weight.t(), block.attn.c_attn.bias)
        q, k, v = (part.view(B, T, model.config.n_head, -1).transpose(1, 2) for part in n.chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, -1)
        x = x + F.linear(y, block.attn.c_proj.weight.t(), block.attn.c_proj.bias)
        n = F.gelu(
            F.linear(block.ln_2(x), block.mlp.c_fc.weight.t(), block.mlp.c_fc.bias), approximate="tanh"
        )
        x = x + F.linear(n, block.mlp.c_proj.weight.t(), block.mlp.c_proj.bias)
    return model.transformer.ln_f(x)


def test_every_group_of_weights_begins_as_gpt2s() -> None:
    model = GPT2(GPT2Config(n_layer=8, n_head=4, n_embd=128, n_positions=256, vocab_size=1055), seed=0)
    residual = 0.02 / math.sqrt(16)
    stds = {"wte": 0.02, "wpe": 0.01, "c_attn": 0.02, "c_fc": 0.02, "c_proj": residual}
    for name, parameter in model.named_parameters():
        module, kind = name.split(".")[-2:]
        if kind == "bias":
            assert not parameter.any(), name
        elif module.startswith("ln_"):
            assert (parameter == 1).all(), name
        else:
            assert parameter.std().item() == pytest.approx(stds[module], rel=0.03), name
            assert abs(parameter.mean().item()) < 5 * stds[module] / math.sqrt(parameter.numel()), name
            kurtosis = ((parameter / parameter.std()) ** 4).mean().item()
            assert kurtosis == pytest.approx(3, abs=0.2), name


def test_initial_weights_depend_on_seed_and_name_only() -> None:
    model, again, other = GPT2(SMALL, seed=5), GPT2(SMALL, seed=6), GPT2(SMALL, seed=6)
    again.init_weights(5)
    torch.manual_seed(99)
    wider = GPT2Config(n_layer=2, n_head=2, n_embd=64, n_positions=20, vocab_size=101)
    weights, others = dict(model.named_parameters()), dict(other.named_parameters())
    for name, parameter in again.named_parameters():
        assert torch.equal(parameter, weights[name])
        assert parameter.dim() == 1 or not torch.equal(parameter, others[name])
    assert torch.equal(GPT2(wider, seed=5).transformer.wte.weight, weights["transformer.wte.weight"])
    matrices = [p.flatten()[:500] for p in weights.values() if p.dim() == 2]
    assert len({tuple(m.div(m.std()).tolist()) for m in matrices}) == len(matrices)


def test_counts_its_parameters_and_knows_its_device() -> None:
    with torch.device("meta"):
        model = GPT2(GPT2Config())
    assert model.n_params == 124_439_808  # OpenAI's 124M, the head tied
    assert model.device.type == "meta"
    assert GPT2(SMALL).device.type == "cpu"


def test_refuses_more_tokens_than_positions() -> None:
    model = GPT2(SMALL)
    with pytest.raises(ConfigError, match=r"51 tokens(.|\n)*n_positions = 50"):
        model(random_tokens(SMALL, 1, 51))


# Raised inside PyTorch's own tracing of autograd functions.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles_without_a_graph_break() -> None:
    torch._dynamo.reset()
    model = GPT2(SMALL)
    tokens_BT, targets_BT = random_tokens(SMALL, 2, 40), random_tokens(SMALL, 2, 40, seed=2)
    step(model, tokens_BT, targets_BT)
    expected = [parameter.grad for parameter in model.parameters()]
    compiled = torch.compile(model.hidden, fullgraph=True, backend="aot_eager")
    model.zero_grad()
    x_BTD = compiled(tokens_BT)
    loss = cross_entropy_sum(x_BTD, model.transformer.wte.weight, targets_BT, torch.ones(2, 40)) / 80
    loss.backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert relative(parameter.grad, gradient) <= 1e-5
