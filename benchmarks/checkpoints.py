"""How long a save keeps training waiting: in the background, waiting, and with torch.save. For GPT-2 124M:

    .venv/bin/python benchmarks/checkpoints.py [--layers 12 --width 768 --device cpu --repeat 3 --folder DIR]

The state is a model's weights and AdamW's two moments of each (1.49 GB for 124M). `stall` is how long the loop
stands still, `durable` the time until the checkpoint is on disk, hashed and renamed; torch.save (a pickle, the
usual way) writes the same tensors and is timed to the end of an fsync. The three take turns.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from neogpt import atomic, checkpoint, optim
from neogpt.config import GPT2Config, OptimConfig, SaveConfig
from neogpt.model import GPT2
from neogpt.paths import RunDir
from neogpt.tokenizer import Tokenizer
from neogpt.train.saver import Saver

Times = tuple[float, float]
"""Seconds of stall and until durable."""


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="checkpoints-", dir=args.folder))
    try:
        measure(args, folder)
    finally:
        shutil.rmtree(folder)


def measure(args: argparse.Namespace, folder: Path) -> None:
    """All ways in turn; the first round warms up (memory is touched, pinned) and is shown apart."""
    content = state_of(GPT2Config(n_layer=args.layers, n_embd=args.width), args.device)
    tokenizer = Tokenizer.train(["a small vocabulary is enough here"], 260)
    savers = {
        "background": Saver(RunDir(folder / "b"), SaveConfig(background=True), tokenizer, ignore),
        "waiting": Saver(RunDir(folder / "w"), SaveConfig(background=False), tokenizer, ignore),
    }
    ways: dict[str, Callable[[int], Times]] = {
        name: lambda step, saver=saver: ours(saver, at_step(content, step)) for name, saver in savers.items()
    }
    ways["torch.save"] = lambda step: theirs(content, folder / "state.pt")
    for run in ("b", "w"):
        (folder / run / "checkpoints").mkdir(parents=True)
        RunDir(folder / run).metrics.write_text('{"step": 0}\n')
    rounds = [{name: way(step) for name, way in ways.items()} for step in range(1, args.repeat + 2)]
    print(f"{content.n_bytes / 1e9:.2f} GB on {args.device}, median of {args.repeat} (first apart)")
    print(f"{'':12} {'stall':>9} {'durable':>9}   {'first stall':>11}")
    for name in ways:
        stall, durable = (statistics.median(r[name][i] for r in rounds[1:]) for i in (0, 1))
        print(f"{name:12} {stall:8.3f}s {durable:8.2f}s   {rounds[0][name][0]:10.3f}s")


def state_of(config: GPT2Config, device: str) -> checkpoint.Content:
    """A model and its AdamW state after one update."""
    model = GPT2(config, seed=0).to(device)
    named = list(model.named_parameters())
    optimizers = optim.build(named, OptimConfig())
    for _, parameter in named:
        parameter.grad = torch.ones_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    values: dict[str, Any] = {
        "recipe": "benchmark",
        "stage": "pretrain",
        "init_from": "",
        "source": {"kind": "-"},
    }
    state = checkpoint.TrainerState(1, 1, values, "", "", {"neogpt": "-"})
    return checkpoint.Content(state, config, model.state_dict(), optim.state_tensors(optimizers, named))


def at_step(content: checkpoint.Content, step: int) -> checkpoint.Content:
    """The same state as that of another step."""
    state = checkpoint.TrainerState(**{**vars(content.state), "step": step})
    return checkpoint.Content(state, content.model, content.weights, content.optimizer)


def ours(saver: Saver, content: checkpoint.Content) -> Times:
    """One save as the loop makes it."""
    began = synchronized()
    saver.save(content)
    stall = time.perf_counter() - began
    saver.wait_for_save()
    return stall, time.perf_counter() - began


def theirs(content: checkpoint.Content, path: Path) -> Times:
    """The same tensors by torch.save, durable."""
    began = synchronized()
    torch.save({**content.weights, **content.optimizer}, path)
    atomic.fsync(path)
    seconds = time.perf_counter() - began
    return seconds, seconds


def synchronized() -> float:
    """Now, with nothing queued on the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def ignore(name: str, **values: Any) -> None:
    """Nobody wants to know."""


if __name__ == "__main__":
    main()
