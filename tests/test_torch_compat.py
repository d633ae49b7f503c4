"""What is used of PyTorch beyond its documentation: whether it is there, what stands in for it, and nothing else is."""

import ast
import math
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training import ROOT, Launcher, different, outcome

from neogpt import hardware, optim, torch_compat
from neogpt.config import OptimConfig
from neogpt.model import kernels
from neogpt.model.cross_entropy import cross_entropy_sum
from neogpt.train import device
from neogpt.train.parallel import distributed

LISTS = ("add_", "mul_", "zero_", "lerp_", "lerp")


# Contracts


@pytest.mark.parametrize("name", LISTS)
def test_this_pytorch_has_the_operations_on_lists(name: str) -> None:
    found = getattr(torch_compat, f"foreach_{name}")
    assert found is getattr(torch, f"_foreach_{name}", None), f"{torch.__version__}: a loop stands in for it"


def test_this_pytorch_has_adamw_as_a_function() -> None:
    assert torch_compat.adamw, f"{torch.__version__}: torch.optim.AdamW stands in, which loads the compiler"


def test_this_pytorch_has_the_backward_of_softmax() -> None:
    assert torch_compat._softmax_backward, f"{torch.__version__}: a slower one stands in for it"


def test_this_pytorch_says_whether_a_backward_may_come_again() -> None:
    assert torch_compat._keeps_graph, (
        f"{torch.__version__}: the loss takes a copy of the embedding's gradient"
    )
    said: list[bool] = []
    x = torch.ones((), requires_grad=True)
    x.register_hook(lambda grad: said.append(torch_compat.keeps_graph()))
    loss = x * x
    loss.backward(retain_graph=True)
    loss.backward()
    assert said == [True, False]


def test_this_pytorch_has_the_switch_for_bfloat16_inputs() -> None:
    matmul: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    with torch_compat.bfloat16_inputs():
        assert matmul.fp32_precision == "bf16", f"{torch.__version__}: products in float32 stand in for it"
    assert matmul.fp32_precision == before


def test_this_pytorch_lets_processes_meet_by_a_store() -> None:
    assert distributed.rendezvous, f"{torch.__version__}: peers are waited for without a limit of their own"
    store = torch.distributed.HashStore()
    store.set_timeout(timedelta(days=7))
    assert store.timeout == timedelta(days=7)


def test_this_processors_bfloat16_is_what_linux_says() -> None:
    assert device._multiplies_bfloat16() == hardware.multiplies_bfloat16()


def private_names(source: str) -> Iterator[str]:
    """Attributes and imports of PyTorch whose names begin with an underscore."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            whole = ast.unparse(node)
            if whole.startswith("torch.") or node.attr in ("_local_tensor", "_C"):
                yield whole
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            yield from (n.name for n in node.names if f"{node.module}.{n.name}".count("._"))
        elif isinstance(node, ast.Constant) and str(node.value).startswith(
            ("_foreach", "_local_t", "_is_avx")
        ):
            yield str(node.value)


def test_nothing_else_is_private() -> None:
    """A new use belongs into torch_compat.py, with what stands in for it and a test here."""
    files = [path for path in sorted((ROOT / "neogpt").rglob("*.py")) if path.name != "torch_compat.py"]
    found = {path.name: names for path in files if (names := list(private_names(path.read_text("utf-8"))))}
    assert found == {}
    assert len(list(private_names((ROOT / "neogpt" / "torch_compat.py").read_text("utf-8")))) >= len(LISTS)


# What stands in


WITHOUT = """
import sys, torch, torch.optim.adamw
module = sys.modules['torch.optim.adamw']
for name in {lists}: delattr(torch, '_foreach_' + name)
del torch._softmax_backward_data, torch._C._autograd._get_current_graph_task_keep_graph
{adamw}
vars(type(torch.backends.mkldnn)).get('matmul') and delattr(type(torch.backends.mkldnn), 'matmul')
from neogpt import torch_compat
print(torch_compat.adamw, torch_compat._softmax_backward, torch_compat._keeps_graph, torch_compat._matmul)
print(*sorted(name for name, value in vars(torch_compat).items() if name.startswith('foreach_')
              and value is getattr(torch_compat, name.replace('foreach', '_each'))))
with torch_compat.bfloat16_inputs(): print(torch_compat.keeps_graph())
"""


@pytest.mark.parametrize(
    "adamw",
    [
        "del module.adamw",
        "module.adamw = lambda params, grads, *, step_size: None",
        "module.adamw = lambda grads, params, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, *, fused, amsgrad,"
        " beta1, beta2, lr, weight_decay, eps, maximize: None",
    ],
)
def test_a_pytorch_without_them_is_noticed(adamw: str) -> None:
    program = WITHOUT.format(lists=LISTS, adamw=adamw)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    names = " ".join(sorted(f"foreach_{name}" for name in LISTS))
    assert done.stdout.splitlines() == ["None None None None", names, "True"]


def test_documented_ways_train_to_the_same_bits(
    launcher: Launcher, bases: dict[str, Path], tmp_path: Path
) -> None:
    """Two processes that meet without a store, torch.optim.AdamW, loops: every byte is that of the usual run."""
    group = launcher.train(2, "pretrain", tmp_path / "run", patch="documented_only")
    assert group.wait() == [0, 0], group.text()
    assert "documented ways: " in group.text()
    assert different(outcome(tmp_path / "run"), outcome(bases["pretrain"])) == []


def lists_of(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((), (7,), (33, 6), (3, 4, 129))]


@pytest.mark.parametrize("scale", [0.3, -1.7, 1 - 1e-4])
def test_loops_and_operations_on_lists_give_the_same_bits(scale: float) -> None:
    for name, arguments in {
        "add_": (lists_of(1),),
        "mul_": (scale,),
        "zero_": (),
        "lerp_": (lists_of(1), scale),
        "lerp": (lists_of(1), scale),
    }.items():
        ours, theirs = lists_of(0), lists_of(0)
        options = {"alpha": scale} if name == "add_" else {}
        results = [
            getattr(torch_compat, f"_each_{name}")(ours, *arguments, **options),
            getattr(torch, f"_foreach_{name}")(theirs, *arguments, **options),
        ]
        ours, theirs = results if name == "lerp" else (ours, theirs)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)), name
        changed = zip(ours, lists_of(0), strict=True)
        assert not any(torch.equal(a, b) for a, b in changed), name
    by_tensor = lists_of(0), lists_of(0)
    torch_compat._each_mul_(by_tensor[0], torch.tensor(scale))
    torch._foreach_mul_(by_tensor[1], torch.tensor(scale))
    assert all(torch.equal(a, b) for a, b in zip(*by_tensor, strict=True))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_pytorchs_own_adamw_stands_in_to_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state moves from one to the other in the middle, both ways."""

    def named() -> optim.Named:
        tensors = zip(("wte", "h.0.c_attn.weight", "h.0.bias"), lists_of(2)[:0:-1], strict=True)
        return [
            (f"transformer.{n}", torch.nn.Parameter(t.reshape(t.shape[0], -1).squeeze(1))) for n, t in tensors
        ]

    def run(kinds: tuple[bool, ...]) -> list[Tensor]:
        parameters, state = named(), {}
        for part, is_ready_made in enumerate(kinds):
            with monkeypatch.context() as patch:
                if is_ready_made:
                    patch.setattr(torch_compat, "adamw", None)
                rules = optim.build(parameters, OptimConfig(name=name, lr=0.02, weight_decay=0.1))
            assert isinstance(rules[-1], torch.optim.AdamW) == is_ready_made
            optim.load_state_tensors(rules, parameters, state)
            for step in range(3):
                for index, (_, parameter) in enumerate(parameters):
                    seeded = torch.Generator().manual_seed(100 * part + 10 * step + index)
                    parameter.grad = torch.randn(parameter.shape, generator=seeded)
                optim.set_lr(rules, 0.02 / (1 + step))
                for rule in rules:
                    rule.step()
            state = {k: v.clone() for k, v in optim.state_tensors(rules, parameters).items()}
        return [*(p.detach() for _, p in parameters), *(state[k] for k in sorted(state))]

    usual = run((False, False))
    for kinds in ((True, True), (True, False), (False, True)):
        assert all(torch.equal(a, b) for a, b in zip(run(kinds), usual, strict=True)), kinds


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_other_backward_of_softmax(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are within their dtype's rounding of float64's, and p is left alone."""
    generator = torch.Generator().manual_seed(0)
    p = (torch.randn(6, 40, 50, generator=generator) * 3).softmax(-1).to(dtype)
    grad = torch.randn(6, 40, 50, generator=generator).to(dtype)
    product = grad.double() * p.double()
    exact = product - p.double() * product.sum(-1, keepdim=True)
    bound = torch.finfo(dtype).eps * exact.abs() + 1e-6
    for own in (True, False):
        if not own:
            monkeypatch.setattr(torch_compat, "_softmax_backward", None)
        found, kept = grad.clone(), p.clone()
        torch_compat.softmax_backward_(found, kept)
        assert bool(((found.double() - exact).abs() <= bound).all()), own
        assert torch.equal(kept, p)


@pytest.mark.parametrize("gone", ["_softmax_backward", "_matmul"])
@pytest.mark.parametrize("T", [64, 300])
def test_attention_learns_the_same_without_them(gone: str, T: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gradient's distance from float64's grows by a tenth of bfloat16's own at most."""
    generator = torch.Generator().manual_seed(T)
    qkv = torch.randn(2, T, 3 * 64, generator=generator).bfloat16()
    dy = torch.randn(2, T, 64, generator=generator).bfloat16()

    def gradient() -> Tensor:
        x = qkv.clone().requires_grad_()
        kernels.attention(x, 4).backward(dy)
        assert x.grad is not None
        return x.grad.double()

    wide = qkv.double().requires_grad_()
    q, k, v = kernels.split_heads(wide, 4)
    scores = (q @ k.mT / math.sqrt(16)).masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf)
    kernels.merge_heads(scores.softmax(-1) @ v).backward(dy.double())
    assert wide.grad is not None
    usual = (gradient() - wide.grad).norm() / wide.grad.norm()
    monkeypatch.setattr(torch_compat, gone, None)
    assert (gradient() - wide.grad).norm() / wide.grad.norm() <= 1.1 * usual < 0.02


def test_the_loss_has_the_same_gradient_where_nobody_says_that_it_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gradients() -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, 8, 16, generator=generator).requires_grad_()
        w = torch.randn(50, 16, generator=generator).requires_grad_()
        targets = torch.randint(50, (2, 8), generator=generator)
        (3 * cross_entropy_sum(x, w, targets, torch.ones(2, 8))).backward()
        return [tensor.grad for tensor in (x, w) if tensor.grad is not None]

    usual = gradients()
    monkeypatch.setattr(torch_compat, "_keeps_graph", None)
    assert all(torch.equal(a, b) for a, b in zip(gradients(), usual, strict=True))


def test_linux_says_what_the_processor_multiplies_where_pytorch_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PyTorch before 2.13 has no `torch.cpu.get_capabilities`."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for native in (True, False):
        monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda native=native: native)
        assert device._multiplies_bfloat16() is native
