"""Compiled and recomputed blocks: less time, less memory, the same gradients; evaluation never sees them."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from training import Launcher, compiler_python, different, events, outcome, tiny

from neogpt import ledger
from neogpt.config import GPT2Config
from neogpt.errors import ConfigError
from neogpt.inference.forward import Inference
from neogpt.inference.kv_cache import KVCache
from neogpt.model import GPT2, cross_entropy_sum
from neogpt.paths import RunDir
from neogpt.train.parallel import blocks
from neogpt.train.parallel.blocks import set_up_blocks
from neogpt.train.run import train

SMALL = GPT2Config(n_layer=3, n_head=2, n_embd=32, n_positions=48, vocab_size=97)
PLAIN = tiny("pretrain")
RECOMPUTED = dataclasses.replace(PLAIN, activation_checkpointing=True)
FAST = ("--reduction", "fast")


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> CompileCounterWithBackend:
    """Compiled blocks run as they are; how many graphs were made is counted."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    forward = torch.compile(blocks.Block.forward, backend=counter)
    monkeypatch.setattr(blocks, "_compiled", lambda device: forward)
    return counter


def tokens(rows: int, length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rows * 100 + length)
    return torch.randint(0, SMALL.vocab_size, (rows, length), generator=generator)


def loss_of(model: GPT2, tokens_BT: torch.Tensor) -> torch.Tensor:
    x_BTD = model.hidden(tokens_BT)
    return cross_entropy_sum(
        x_BTD, model.transformer.wte.weight, tokens_BT.roll(-1, 1), torch.ones_like(tokens_BT).float()
    )


def gradients(run: Any, seed: int = 0) -> tuple[list[torch.Tensor], int]:
    """The gradient of every parameter, and how many bytes of activations the forward kept for it."""
    model, kept = GPT2(SMALL, seed), {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    set_up_blocks(model, run)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_of(model, tokens(4, 40))
    n_bytes = sum(size for place, size in kept.items() if place not in weights)
    loss.backward()
    return [p.grad for p in model.parameters() if p.grad is not None], n_bytes


def test_recomputed_blocks_give_the_same_bits_from_less_memory() -> None:
    plain, plain_bytes = gradients(PLAIN)
    recomputed, recomputed_bytes = gradients(RECOMPUTED)
    assert len(plain) == len(recomputed) == len(list(GPT2(SMALL).parameters()))
    assert all(torch.equal(a, b) for a, b in zip(plain, recomputed, strict=True))
    head = 4 * 40 * 32 * 4 + 97 * 32 * 4  # what the cross-entropy keeps: the gradient of its inputs
    assert recomputed_bytes - head < (plain_bytes - head) / 4


def test_what_needs_no_gradient_runs_the_plain_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation, and generation with a cache: no forward is recomputed, and the names of the weights stay."""
    model, recomputed = GPT2(SMALL).eval(), []
    with torch.inference_mode():
        expected = model(tokens(2, 12))
    checkpoint = blocks.checkpoint
    monkeypatch.setattr(
        blocks, "checkpoint", lambda *args, **more: (recomputed.append(1), checkpoint(*args, **more))[1]
    )
    set_up_blocks(model, RECOMPUTED)
    assert model.state_dict().keys() == GPT2(SMALL).state_dict().keys()
    with torch.inference_mode():
        torch.testing.assert_close(model(tokens(2, 12)), expected, rtol=0, atol=0)
        cache, inference = KVCache(SMALL, 2, 48), Inference(model)
        parts = []
        for part in tokens(2, 12).split([7, 1, 4], 1):
            parts.append(inference.logits(inference.hidden(part, cache)))
            cache.advance(part.shape[1])
    torch.testing.assert_close(torch.cat(parts, 1), expected)
    assert recomputed == []
    loss_of(model, tokens(2, 8)).backward()
    assert len(recomputed) == SMALL.n_layer


# Both are raised inside PyTorch's own tracing.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("recompute", [False, True])
def test_one_graph_serves_all_blocks_and_two_all_shapes(
    recompute: bool, counter: CompileCounterWithBackend
) -> None:
    """Blocks differ in weights alone; from the second shape on lengths and rows are unknowns of the graph."""
    run = dataclasses.replace(PLAIN, compile=True, activation_checkpointing=recompute)
    plain, _ = gradients(PLAIN)
    compiled, _ = gradients(run)
    for a, b in zip(plain, compiled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    first = counter.frame_count
    model = GPT2(SMALL)
    set_up_blocks(model, run)
    for rows, length in [(4, 40), (2, 40), (2, 33), (3, 17), (5, 48), (2, 21), (6, 12)]:
        loss_of(model, tokens(rows, length)).backward()
        with torch.inference_mode():  # as HellaSwag and samples do between two steps
            model(tokens(rows + 1, length - 5))
    assert first <= 2
    assert counter.frame_count <= first + 3


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # Dynamo's own
@pytest.mark.parametrize(("packed", "n"), [("True", 1), ("False", 0)])
def test_compile_says_where_it_does_nothing(
    packed: str, n: int, tmp_path: Path, counter: CompileCounterWithBackend
) -> None:
    run = tiny("pretrain", "--steps", "1", "--compile", "True", "--objective.intra-document-mask", packed)
    train(run, tmp_path)
    assert len([row for row in events(tmp_path, "warning") if "--compile" in row["message"]]) == n
    assert bool(counter.frame_count) != bool(n)


@pytest.mark.parametrize("layout", [(), FAST, (*FAST, "--parallel", "fsdp")], ids=["exact", "fast", "fsdp"])
def test_recomputing_changes_no_bit_of_a_run(
    layout: tuple[str, ...], launcher: Launcher, tmp_path: Path
) -> None:
    """On two processes, evaluation between the steps included; only the setting itself stands otherwise."""
    for name, more in (("plain", ()), ("recomputed", ("--activation-checkpointing", "True"))):
        group = launcher.train(2, "pretrain", tmp_path / name, "--steps", "6", *layout, *more)
        assert group.wait() == [0, 0], group.text()
    names = different(outcome(tmp_path / "plain"), outcome(tmp_path / "recomputed"))
    assert [Path(name).name for name in names] == ["MANIFEST.json", "trainer.json"]


@pytest.fixture
def compiling(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path / "outputs", tmp_path / "neogpt-home", compiler_python(tmp_path))
    yield launcher
    launcher.close()


def test_a_blank_in_the_path_to_pytorch_is_told_before_its_compiler_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "__file__", "/my models/torch/__init__.py")
    blocks._compiled.cache_clear()
    with pytest.raises(ConfigError, match=r"a blank: /my models.*\n.*\n.*leave --compile out"):
        blocks._compiled("cpu")


@pytest.mark.slow
@pytest.mark.parametrize("layout", [FAST, (*FAST, "--parallel", "fsdp")], ids=["ddp", "fsdp"])
def test_really_compiled_on_two_processes(
    layout: tuple[str, ...], compiling: Launcher, tmp_path: Path
) -> None:
    """torch.compile with recomputed blocks, validation and samples of other shapes between the steps."""
    settings = ("--steps", "4", "--eval.every", "2", "--eval.names", "samples", *layout)
    for name, more in (
        ("plain", ()),
        ("compiled", ("--compile", "True", "--activation-checkpointing", "True")),
    ):
        group = compiling.train(2, "pretrain", tmp_path / name, *settings, *more, patch="deprecations")
        assert group.wait(240) == [0, 0], group.text()
    plain, compiled = (
        [row.get("loss", row.get("val_loss")) for row in ledger.read(RunDir(tmp_path / name).metrics)]
        for name in ("plain", "compiled")
    )
    np.testing.assert_allclose(compiled, plain, rtol=1e-5)
