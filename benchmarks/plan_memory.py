"""What `neogpt plan` says a run takes of memory, beside what it really took.

    .venv/bin/python benchmarks/plan_memory.py [--device cpu]

Each row is a fresh process that trains two real steps. On a CPU: the peak of its resident memory (VmHWM) less what
was resident before the model was built, with malloc told to give freed tensors back (MALLOC_MMAP_THRESHOLD_), and
once more as malloc likes. On a GPU: torch.cuda.max_memory_allocated, in processes one after the other.
"""

import argparse
import ctypes
import gc
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from neogpt import config
from neogpt.config import AnyRun
from neogpt.plan import Memory, plan
from neogpt.plan.devices import DEVICES
from neogpt.recipes import laptop
from neogpt.tokenizer.alphabet import END_OF_TEXT, byte_to_char
from neogpt.tokenizer.files import write
from neogpt.tokenizer.tables import BPE

SMALL_TENSORS = {"MALLOC_MMAP_THRESHOLD_": "65536"}
FIXED = """--steps 2 --threads 1 --eval.every 0 --eval.val-samples 0 --save.every 0 --compile False
 --data.val-fraction 0.25 --eval.names"""


def settings(work: Path, flags: Sequence[str]) -> AnyRun:
    """The run of these flags on a little made-up text, with a made-up vocabulary of as many ids as the model has."""
    run = config.parse(laptop.pretrain(), ["--source.path", str(work / "text"), *FIXED.split(), *flags])
    folder = work / f"tokenizer-{run.model.vocab_size}"
    if not folder.exists():
        write(folder, vocabulary(run.model.vocab_size), 1024)
    return config.parse(run, ["--data.tokenizer", str(folder)])


def vocabulary(size: int) -> BPE:
    """Every byte, then pairs of bytes."""
    characters = list(byte_to_char().values())
    pairs = list(itertools.islice(itertools.product(characters, characters), size - 257))
    tokens = [*characters, *("".join(pair) for pair in pairs), END_OF_TEXT]
    return BPE({token: i for i, token in enumerate(tokens)}, pairs)


def make_text(work: Path) -> None:
    """Half a megabyte of letters, the same each time."""
    (work / "text").mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for i in range(40):
        words = ("".join(rng.choices("abcdefghij", k=6)) for _ in range(2000))
        (work / "text" / f"{i}.txt").write_text(" ".join(words))


def measure(work: Path, flags: Sequence[str], environment: dict[str, str] | None = None) -> int:
    """Peak bytes of a run in a fresh process, above what it had before the model was built."""
    command = [sys.executable, __file__, "--measure", json.dumps({"work": str(work), "flags": list(flags)})]
    variables = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "OMP_NUM_THREADS": "1",
        "NEOGPT_HOME": str(work / "home"),
        **(SMALL_TENSORS if environment is None else environment),
    }
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return int(done.stdout.split()[-1])


def measure_here(work: Path, flags: Sequence[str]) -> int:
    """Train a model of nothing, so that all code is loaded and the data is there; then the one to be measured."""
    import torch

    from neogpt.train.run import train

    run = settings(work, flags)
    tiny = "--model.n-layer 1 --model.n-head 1 --model.n-embd 8 --steps 1"
    tiny = "--model.n-layer 1 --model.n-head 1 --model.n-embd 8 --steps 1"
    with tempfile.TemporaryDirectory(dir=work) as folder:
        train(config.parse(run, tiny.split()), Path(folder, "tiny"))
        gc.collect()
        if run.device.startswith("cuda"):
            torch.cuda.empty_cache()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            train(run, Path(folder, "run"))
            return torch.cuda.max_memory_allocated() - before
        ctypes.CDLL(None).malloc_trim(0)
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        train(run, Path(folder, "run"))
        return status("VmHWM") - before


def status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def flags_of(
    n_layer: int, n_head: int, n_embd: int, length: int, vocab: int, batch: int, cut: int, more: str
) -> list[str]:
    """The command-line settings of a shape."""
    model = f"--model.n-layer {n_layer} --model.n-head {n_head} --model.n-embd {n_embd} --model.n-positions {length}"
    work = f"--objective.seq-len {length} --batch.size {batch} --batch.micro-batches {cut}"
    return f"{model} --model.vocab-size {vocab} {work} {more}".split()


def predicted(flags: Sequence[str], processes: int = 1) -> Memory:
    """What the plan says about the same settings."""
    run = config.parse(laptop.pretrain(), [*FIXED.split(), *flags])
    found = plan(run, [DEVICES["cpu" if run.device == "cpu" else "h100"]], processes)
    return found.memory_checkpointed if run.activation_checkpointing else found.memory


SHAPES = [
    # layers, heads, width, length, ids, batch, micro-batches
    (4, 4, 256, 256, 4096, 16, 1),
    (4, 4, 256, 1024, 4096, 16, 2),
    (6, 6, 384, 256, 50257, 8, 1),
    (6, 6, 384, 256, 50257, 8, 8),
    (12, 12, 768, 512, 50257, 4, 2),
]
LARGE = [
    (12, 12, 768, 1024, 50257, 32, 2),
    (24, 16, 1024, 1024, 50257, 16, 2),
    (36, 20, 1280, 1024, 50257, 16, 4),
]
KINDS = [
    f"--optim.name {name} --dtype {dtype}" for name in ("adamw", "muon") for dtype in ("float32", "bfloat16")
]


def main(device: str) -> None:
    """The table."""
    print(
        "layers heads width length    ids batch cut  kind                  predicted  measured  ratio  as malloc likes"
    )
    shapes = SHAPES if device == "cpu" else SHAPES + LARGE
    with tempfile.TemporaryDirectory() as folder:
        make_text(Path(folder))
        for shape, kind in itertools.product(shapes, KINDS):
            flags = flags_of(*shape, f"{kind} --device {device}")
            want, got = predicted(flags).peak / 1e6, measure(Path(folder), flags) / 1e6
            loose = f"{measure(Path(folder), flags, {}) / 1e6:8.0f} MB" if device == "cpu" else ""
            name = kind.replace("--optim.name ", "").replace("--dtype ", "")
            row = "{:6} {:5} {:5} {:6} {:6} {:5} {:3}".format(*shape)
            print(f"{row}  {name:<16}  {want:10.0f} MB {got:6.0f} MB {want / got:6.2f}  {loose}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--measure")
    options = parser.parse_args()
    if options.measure:
        request = json.loads(options.measure)
        print(measure_here(Path(request["work"]), request["flags"]))
    else:
        main(options.device)
