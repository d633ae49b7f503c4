"""`neogpt plan`: its arithmetic against the model, the optimizer, the sum tree and the memory of real steps."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from training import ROOT, Launcher

from neogpt import optim
from neogpt.cli import _train
from neogpt.config import GPT2Config, OptimConfig
from neogpt.model import GPT2, sizes
from neogpt.plan import memory
from neogpt.plan.memory import Work
from neogpt.train.parallel.tree import TreeSum

sys.path.insert(0, str(ROOT / "benchmarks"))
import plan_memory

SIZES = {
    "gpt2-124m": 124_439_808,
    "gpt2-355m": 354_823_168,
    "gpt2-774m": 774_030_080,
    "gpt2-1.5b": 1_557_611_200,
}
SMALL = GPT2Config(n_layer=3, n_head=4, n_embd=64, n_positions=96, vocab_size=500)


def on_meta(config: GPT2Config) -> GPT2:
    with torch.device("meta"):
        return GPT2(config)


# Model


@pytest.mark.parametrize(("name", "published"), SIZES.items())
def test_parameters_are_the_models(name: str, published: int) -> None:
    config = _train.recipe("pretrain", name).model
    assert sizes.n_params(config) == on_meta(config).n_params == published


def test_block_matrices_are_what_muon_updates() -> None:
    named = [(name, p) for name, p in on_meta(SMALL).named_parameters()]
    muon, _ = optim.build(named, OptimConfig(name="muon"))
    assert sizes.n_block_matrices(SMALL) == sum(p.numel() for g in muon.param_groups for p in g["params"])


def test_flops_are_what_a_counter_of_matrix_products_counts() -> None:
    """Three times the forward; ours adds those of biases, LayerNorms and positions, which multiply nothing."""
    T = 64
    config = GPT2Config(n_layer=3, n_head=4, n_embd=256, n_positions=T, vocab_size=5000)
    with FlopCounterMode(display=False) as counter:
        on_meta(config)(torch.zeros(2, T, dtype=torch.int64, device="meta"))
    counted = 3 * counter.get_total_flops() / (2 * T)
    others = T * 256 + 3 * 13 * 256 + 2 * 256
    assert sizes.flops_per_token(config, T) - 6 * others == pytest.approx(counted, rel=1e-9)


# Memory


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("T", "B"), [(96, 4), (256, 2), (512, 1)])
def test_activations_are_what_autograd_saves(dtype: str, T: int, B: int) -> None:
    config = dataclasses.replace(SMALL, n_positions=T)
    model = GPT2(config)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    tokens = torch.zeros(B, T, dtype=torch.int64)
    half = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
    with half, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.hidden(tokens)
    saved = sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) - tokens.nbytes
    work = Work(config, B, T, 1, dtype=dtype)
    assert memory.activation_bytes(work) == pytest.approx(saved, rel=0.01)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_optimizer_bytes_are_those_of_its_state(name: str) -> None:
    named = list(GPT2(SMALL).named_parameters())
    optimizers = optim.build(named, OptimConfig(name=name))  # type: ignore[arg-type]
    for _, p in named:
        p.grad = torch.ones_like(p)
    for optimizer in optimizers:
        optimizer.step()
    tensors = optim.state_tensors(optimizers, named).values()
    held = sum(tensor.nbytes for tensor in tensors if tensor.numel() > 1)
    assert memory.optimizer_bytes(Work(SMALL, 1, 8, 1, optimizer=name)) == held


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 7, 8, 12, 16, 64])
def test_waiting_gradients_are_those_of_the_sum_tree(n: int) -> None:
    tree, most, beside = TreeSum(), 0, 0
    for _ in range(n):
        most = max(most, len(tree._partial))
        before = tree.neighbor()
        beside = max(beside, len(tree._partial))
        tree.add(before or [torch.ones(1)], level=1 if before else 0)
    assert (memory.held_gradients(n), memory.held_beside(n)) == (most, beside)


ADAMW = "--optim.name adamw --dtype float32"
MEASURED = {
    # layers, heads, width, length, ids, batch, micro-batches, kind, processes
    "float32": (4, 4, 256, 128, 2048, 16, 1, "--optim.name adamw --dtype float32", 1),
    "bfloat16": (4, 4, 256, 256, 2048, 12, 1, "--optim.name adamw --dtype bfloat16", 1),
    "large vocabulary, accumulated": (2, 4, 256, 64, 30000, 8, 4, "--optim.name muon --dtype float32", 1),
    "two processes": (6, 8, 512, 32, 1024, 2, 2, "--optim.name adamw --dtype float32", 2),
}
LARGER = {
    "muon's update": (6, 8, 512, 32, 1024, 2, 1, "--optim.name muon --dtype bfloat16", 1),
    "30M, bfloat16": (6, 6, 384, 256, 50257, 8, 2, "--optim.name adamw --dtype bfloat16", 1),
    "30M, muon": (6, 6, 384, 128, 50257, 8, 8, "--optim.name muon --dtype float32", 1),
    "long": (4, 4, 256, 1024, 4096, 6, 2, "--optim.name adamw --dtype bfloat16", 1),
    "checkpointing": (6, 4, 256, 128, 2048, 24, 1, f"{ADAMW} --activation-checkpointing True", 1),
}


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    plan_memory.make_text(folder)
    return folder


def check_memory(case: tuple[Any, ...], launcher: Launcher, made_up: Path, tmp_path: Path) -> None:
    *numbers, kind, processes = case
    flags = plan_memory.flags_of(*numbers, f"{kind} --device cpu")
    arguments = {"work": str(made_up), "flags": flags, "result": str(tmp_path / "peak")}
    group = launcher.start(processes, "peak_memory", arguments)
    assert group.wait(200) == [0] * processes, group.text()
    peak = max(int((tmp_path / f"peak.{rank}").read_text()) for rank in range(processes))
    said = plan_memory.predicted(flags, processes)
    print(f"{case}: {said.peak / peak:.3f} of {peak / 1e6:.0f} MB, {said}")
    assert said.peak == pytest.approx(peak, rel=0.15)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no /proc/self/clear_refs: not Linux")
@pytest.mark.parametrize("case", MEASURED.values(), ids=MEASURED)
def test_memory_is_that_of_real_steps(
    case: tuple[Any, ...], launcher: Launcher, made_up: Path, tmp_path: Path
) -> None:
    check_memory(case, launcher, made_up, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no /proc/self/clear_refs: not Linux")
@pytest.mark.parametrize("case", LARGER.values(), ids=LARGER)
def test_memory_is_that_of_larger_steps(
    case: tuple[Any, ...], launcher: Launcher, made_up: Path, tmp_path: Path
) -> None:
    check_memory(case, launcher, made_up, tmp_path)
