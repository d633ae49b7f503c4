"""Tokens a second and peak memory of pretraining: NeoGPT's loop beside other people's, on the same GPT-2.

    .venv/bin/python benchmarks/pretraining.py [--sizes tiny 10m 30m 124m] [--threads 2] [--json FILE]

The others: a plain PyTorch step as nanoGPT writes it (`plain`), Hugging Face's Trainer (`hf`) and litgpt, each eager
and under torch.compile. All begin with the same weights, see the same tokens in the same order, in the same
micro-batches, and follow the same AdamW, clipping and learning rate; the plain step is _nanogpt_style.py.

First the loss curves are shown to coincide: five steps in float32, to 1e-4, or the benchmark ends with an error.
Then the timing. Each contender is a process of its own, so that its peak memory is its own. They take turns: a few
steps each, one at a time, round after round, so that a busy moment of the machine falls on all; medians are shown,
and the median over rounds of NeoGPT's speed over the other's (its quartiles behind it). The first turn of each is
not counted: it compiles. With many contenders NeoGPT meets them a few at a time (`--at-once`), to spare memory.

Text: NEOGPT_DATA/pretrain/medquad.jsonl.xz or `--text`; the tiny size reads the embedded world, and so do all without
any text. `--clock cpu` counts processor seconds, for a machine that is busy with others (use `--threads 1` then).
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _contenders import CONTENDERS, PEERS, Spec, available, run_config

HERE = Path(__file__).resolve().parent
CHECK_STEPS, TOLERANCE = 5, 1e-4


@dataclasses.dataclass(frozen=True)
class Size:
    """A model, a batch, and how many steps a turn has."""

    shape: tuple[int, int, int, int]
    """n_layer, n_head, n_embd, n_positions."""
    length: int
    size: int
    micro_batches: int
    tokenizer: str
    vocab_size: int
    steps: int


SIZES = {
    "tiny": Size((4, 4, 128, 128), 96, 32, 4, "trained", 1344, 20),  # recipes/tinyworld.py
    "10m": Size((6, 5, 320, 256), 256, 16, 2, "trained", 8192, 3),
    "30m": Size((6, 6, 384, 512), 512, 8, 2, "gpt2", 50257, 2),
    "124m": Size((12, 12, 768, 1024), 1024, 2, 2, "gpt2", 50257, 1),
    "124m-gpu": Size((12, 12, 768, 1024), 1024, 64, 4, "gpt2", 50257, 5),
}


class Worker:
    """A contender's process; its words go to a log file."""

    def __init__(self, name: str, spec: Spec, log: Path) -> None:
        self.name, self.log = name, log
        file = Path(spec.folder) / f"{spec.dtype}.json"
        file.write_text(json.dumps(dataclasses.asdict(spec)))
        path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(spec.threads)}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "_contenders.py"), name, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            env=environment,
        )
        self.imported = self._answer()["imported"]

    def take(self, steps: int) -> dict[str, Any]:
        """So many steps: seconds by both clocks, losses, and the peak of memory up to now."""
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            tail = "\n".join(self.log.read_text().splitlines()[-15:])
            raise SystemExit(f"{self.name} ended:\n{tail}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def started(names: list[str], spec: Spec) -> Iterator[list[Worker]]:
    """A process for each name, built one after the other; they end with the block."""
    workers: list[Worker] = []
    try:
        for name in names:
            workers.append(Worker(name, spec, Path(spec.folder) / f"{name}-{spec.dtype}.log"))
        yield workers
    finally:
        for worker in workers:
            worker.close()


def prepared(size: Size, n_steps: int, options: argparse.Namespace, folder: Path) -> Spec:
    """The first weights, and the rows of `n_steps` steps as NeoGPT's own order has them."""
    import numpy as np

    from neogpt.data.order import sample_ids
    from neogpt.data.vocabulary import tokenizer_for
    from neogpt.model import GPT2, save_pretrained
    from neogpt.objectives import pretrain

    text = "" if size.vocab_size == 1344 else options.text
    names = ("n_layer", "n_head", "n_embd", "n_positions")
    spec = Spec(
        shape={**dict(zip(names, size.shape, strict=True)), "vocab_size": size.vocab_size},
        length=size.length,
        size=size.size,
        micro_batches=size.micro_batches,
        source="files" if text else "tinyworld",
        text=text,
        tokenizer=size.tokenizer if text else "trained",
        vocab_size=size.vocab_size if text else 1344,
        dtype="float32",
        device=options.device,
        threads=options.threads,
        folder=str(folder),
    )
    run = run_config(spec, compiled=False)
    tokenizer = tokenizer_for(run.data, run.source_name, run.source)
    model = GPT2(run.model)
    save_pretrained(model, folder / "start")
    tokenizer.save(folder / "start")
    objective = pretrain.build(run, tokenizer, run.model.n_positions)
    ids = [sample_ids(step, size.size, objective.n_samples, run.seed) for step in range(n_steps)]
    batch = objective.windows.batch(np.concatenate(ids))
    if not batch.weights.all():
        raise SystemExit(
            "a window of these steps has padding, which the others would count: take other --steps"
        )
    rows = np.concatenate([batch.tokens, batch.targets[:, -1:]], axis=1)
    np.save(folder / "batches.npy", rows.astype(np.uint16))
    print(
        f"{model.n_params:,} parameters, {size.size} x {size.length} tokens a step in {size.micro_batches} parts"
    )
    return spec


def coincide(names: list[str], spec: Spec) -> dict[str, list[float]]:
    """Five steps in float32 of every contender, one after the other; an error where the losses differ."""
    losses = {}
    for name in names:
        with started([name], spec) as (worker,):
            losses[name] = worker.take(CHECK_STEPS)["losses"]
        print(f"  {name:<17} losses {' '.join(f'{loss:.6f}' for loss in losses[name])}", flush=True)
    apart = max(abs(a - b) for row in losses.values() for a, b in zip(row, losses["neogpt"], strict=True))
    print(f"  float32: largest difference {apart:.1e}", flush=True)
    if not apart <= TOLERANCE:
        raise SystemExit(f"the losses differ by {apart:.1e}, more than {TOLERANCE}: not the same training")
    return losses


def race(names: list[str], spec: Spec, steps: int, rounds: int, clock: str) -> list[dict[str, Any]]:
    """Turns of some contenders: seconds a step, losses and peak memory of each."""
    found: list[dict[str, Any]] = [{"name": name, "seconds": [], "losses": []} for name in names]
    with started(names, spec) as workers:
        for number in range(rounds + 1):
            for worker, row in zip(workers, found, strict=True):
                turn = worker.take(steps)
                row["losses"] += turn["losses"]
                if number:
                    row["seconds"].append(turn[clock] / steps)
                row["peak"], row["imported"] = turn["peak"], worker.imported
    return found


def beside(ours: dict[str, Any], other: dict[str, Any], tokens: int) -> dict[str, Any]:
    """A row of the table: speed, ratio to NeoGPT round by round, memory."""
    ratios = sorted(b / a for a, b in zip(ours["seconds"], other["seconds"], strict=True))
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {
        "name": other["name"],
        "tokens_per_s": tokens / statistics.median(other["seconds"]),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [low, high],
        "peak_bytes": other["peak"],
        "imported_bytes": other["imported"],
        "memory_ratio": other["peak"] / ours["peak"],
        "loss_difference": max(abs(a - b) for a, b in zip(ours["losses"], other["losses"], strict=True)),
        "seconds": other["seconds"],
    }


def compare(spec: Spec, names: list[str], steps: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every contender beside NeoGPT, a few at a time; prints and returns the rows."""
    tokens, rows = spec.size * spec.length, []
    others = [name for name in names if name != "neogpt"]
    for first in range(0, max(1, len(others)), options.at_once):
        group = ["neogpt", *others[first : first + options.at_once]]
        found = race(group, spec, steps, options.rounds, options.clock)
        for row in found:
            line = beside(found[0], row, tokens)
            if row is not found[0] or not rows:
                rows.append(line)
            show(line, mfu(spec, line["tokens_per_s"]))
    return rows


def show(line: dict[str, Any], share: float) -> None:
    low, high = line["ratio_quartiles"]
    print(
        f"  {line['name']:<17} {line['tokens_per_s']:>10,.0f} tokens/s   neogpt is {line['ratio']:.2f} x"
        f" ({low:.2f} to {high:.2f})   {line['peak_bytes'] / 2**20:>6,.0f} MiB at the peak"
        f" ({line['memory_ratio']:.2f} x neogpt's)   losses within {line['loss_difference']:.1e}"
        + (f"   MFU {share:.1%}" if share else ""),
        flush=True,
    )


def mfu(spec: Spec, tokens_per_s: float) -> float:
    """(6 N + 12 L d T) x tokens/s over the GPU's dense bfloat16 peak; 0 where that is not known."""
    if spec.device != "cuda":
        return 0.0
    import torch

    from neogpt.config import GPT2Config
    from neogpt.train.speed import flops_per_token, peak_flops

    c = GPT2Config(**spec.shape)
    n_params = 12 * c.n_layer * c.n_embd**2 + (c.vocab_size + c.n_positions) * c.n_embd
    peak = peak_flops(torch.cuda.get_device_name())
    return tokens_per_s * flops_per_token(c, n_params, spec.length) / peak if peak else 0.0


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on."""
    import importlib.metadata

    import torch

    from neogpt.train.device import _cpu_name

    packages = ["torch", *(package for pair in PEERS.values() for package in pair)]
    versions = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "gpu": torch.cuda.get_device_name() if options.device == "cuda" else None,
        "python": platform.python_version(),
        "versions": versions,
        "options": {k: v for k, v in vars(options).items() if k != "text"},
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everybody = [name + end for name in CONTENDERS for end in ("", "-compiled")]
    usual = [name for name in everybody if name not in ("neogpt-compiled", "hf-compiled")]
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["tiny", "10m", "30m", "124m"])
    parser.add_argument("--contenders", nargs="+", choices=everybody, default=usual)
    parser.add_argument("--rounds", type=int, default=7, help="counted turns of each")
    parser.add_argument("--steps", type=int, default=0, help="steps a turn; 0: as fits the size")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of each")
    parser.add_argument("--at-once", type=int, default=3, help="contenders that NeoGPT meets at a time")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--text", default="", help="file or folder of text")
    parser.add_argument("--no-check", action="store_true", help="leave the float32 comparison out")
    parser.add_argument("--json", default="", help="where all figures go")
    options = parser.parse_args()
    sample = Path(os.environ.get("NEOGPT_DATA", "")) / "pretrain" / "medquad.jsonl.xz"
    options.text = options.text or (str(sample) if sample.is_file() else "")
    return options


def main() -> None:
    options = parse()
    names = ["neogpt", *(name for name in options.contenders if name != "neogpt")]
    for name in [name for name in names if not available(name)]:
        print(f"{name} is left out: pip install {' '.join(PEERS[name.removesuffix('-compiled')])}")
        names.remove(name)
    results: dict[str, Any] = {"machine": machine(options), "sizes": {}}
    for label in options.sizes:
        size = SIZES[label]
        steps = options.steps or size.steps
        print(f"{label}: ", end="", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            n_steps = max(CHECK_STEPS, steps * (options.rounds + 1))
            spec = prepared(size, n_steps + 1, options, Path(folder))
            losses = {} if options.no_check else coincide(names, spec)
            timed = dataclasses.replace(spec, dtype=options.dtype)
            rows = compare(timed, names, steps, options)
        shape = {**dataclasses.asdict(size), "shape": spec.shape}
        results["sizes"][label] = {
            "size": shape,
            "steps_a_turn": steps,
            "float32_losses": losses,
            "rows": rows,
        }
        if options.json:
            Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
