"""What each change to the published GPT-2 recipe is worth: one change at a time, several seeds, equal tokens.

    .venv/bin/python benchmarks/ladder.py --size cpu --data FOLDER
    .venv/bin/python benchmarks/ladder.py --size gpt2-124m --data FOLDER --seeds 0 1 2

A rung is a list of settings. It stands on the rungs above it that were kept, and the model is plain GPT-2
whatever it sets. FOLDER holds parquet, JSON lines or text files. Runs go to --run and are taken up where they
stopped, so the whole can be interrupted. The last rungs are the recipe with all that was kept and only a part
of the tokens, annealed over that part: where its loss is below the published recipe's, that recipe needs as many
times the tokens. Losses are on held-out text; p is of Welch's t-test between seeds (two-sided; one-sided for
the last rungs).
"""

import argparse
import itertools
import json
import math
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from neogpt import ledger
from neogpt.paths import RunDir

SHORTER = {"fast-short": 1.6, "fast-quarter": 4.0}
"""The last rungs: by how much their horizon is cut."""


@dataclass(frozen=True)
class Rung:
    """One change: its settings, and whether the rungs below stand on it."""

    name: str
    what: str
    flags: str
    kept: bool = True


@dataclass(frozen=True)
class Size:
    """Where the ladder stands: a recipe, what all rungs share, and the horizon."""

    recipe: str
    flags: str
    tokens: int
    rungs: tuple[Rung, ...]


_PUBLISHED = "--optim.name adamw --optim.schedule cosine --optim.min-lr-ratio 0.1 --optim.warmup-ratio 0.0375"
_SLOW = "--optim.embedding-lr-scale 0.4 --optim.vector-lr-scale 0.4"
_WSD = "--optim.schedule wsd --optim.decay-ratio 0.5 --optim.min-lr-ratio 0"
_4096 = "--batch.size 32 --eval.every 32"
_BRANCHES = (
    Rung("zero-residual", "blocks begin as the identity", "--init zero-residual", kept=False),
    Rung("growth", "sequences grow over the first half", "--objective.seq-len-warmup 0.5", kept=False),
    Rung("alone", "documents are read alone", "--objective.intra-document-mask True", kept=False),
    Rung("z-loss", "logits pulled towards 0", "--objective.z-loss 1e-4", kept=False),
    Rung(
        "slow-embeddings",
        "embeddings at 0.4 of Muon's rate",
        "--optim.embedding-lr-scale 0.4 --optim.vector-lr-scale 0.4",
        kept=False,
    ),
    Rung("no-decay", "no weight decay", "--optim.weight-decay 0", kept=False),
)
CPU = Size(
    "laptop",
    "--data.tokenizer trained --data.vocab-size 4096 --dtype bfloat16 --threads 1 --save.every 0 --eval.names "
    "--model.n-layer 4 --model.n-head 4 --model.n-embd 128 --model.n-positions 128 --objective.seq-len 128 "
    "--batch.micro-batches 1 --eval.val-samples 256",
    2**19,
    (
        Rung(
            "published",
            "AdamW, cosine to a tenth, the best of three rates",
            f"{_PUBLISHED} --optim.lr 2e-3 {_4096}",
        ),
        Rung("wsd", "flat, then straight down to 0 over the second half", _WSD),
        Rung("muon", "Muon for the blocks' matrices", "--optim.name muon --optim.lr 1e-2"),
        Rung("batch", "half the batch, twice the steps", "--batch.size 16 --eval.every 64"),
        *_BRANCHES,
    ),
)
GPT2 = Size(
    "gpt2-124m",
    "",
    10**9,
    (
        Rung("published", "the published recipe", ""),
        Rung("wsd", "flat, then straight down to 0 over the second half", _WSD),
        Rung("muon", "Muon for the blocks' matrices", "--optim.name muon --optim.lr 3e-3"),
        Rung("batch", "half the batch, twice the steps", "--batch.size 256"),
        *_BRANCHES,
    ),
)
SIZES = {"cpu": CPU, "gpt2-124m": GPT2}


def main() -> int:
    """Run what is missing, print the table, write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="cpu")
    parser.add_argument("--data", help="folder of text files; none: only read the runs that are there")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--run", type=Path, default=Path("runs/ladder"))
    parser.add_argument("--json", type=Path, help="write the results there")
    options = parser.parse_args()
    size = SIZES[options.size]
    plan = flags_of(size)
    for seed in options.seeds:
        for name, flags in plan.items():
            if options.data:
                run(size, options.run / f"{name}-{seed}", f"{flags} --seed {seed}", options.data)
    curves = {name: [curve(options.run / f"{name}-{seed}") for seed in options.seeds] for name in plan}
    print_table(size, {name: found for name, found in curves.items() if all(found)})
    if options.json:
        options.json.write_text(json.dumps(results(size, plan, curves), indent=1) + "\n")
    return 0


def flags_of(size: Size) -> dict[str, str]:
    """Every rung's whole settings, from the published recipe to the recipe with all that was kept, cut short."""
    below: dict[str, str] = {}
    plan = {}
    for rung in size.rungs:
        words = rung.flags.split()
        settings = below | dict(zip(words[::2], words[1::2], strict=True))
        plan[rung.name] = settings | {"--tokens": str(size.tokens)}
        below = settings if rung.kept else below
    for name, share in SHORTER.items():
        plan[name] = below | {"--tokens": str(round(size.tokens / share))}
    return {name: " ".join(itertools.chain(*settings.items())) for name, settings in plan.items()}


def run(size: Size, folder: Path, flags: str, data: str) -> None:
    """One run by the command line, taken up where it stopped; nothing when it is done."""
    if is_done(folder):
        return
    command = [
        sys.executable,
        "-m",
        "neogpt",
        "pretrain",
        size.recipe,
        "--run",
        str(folder),
        "--resume",
        "auto",
    ]
    command += ["--source.path", data, *size.flags.split(), *flags.split()]
    print(" ".join(command[1:]), file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def is_done(folder: Path) -> bool:
    """Whether a run has reached its end."""
    return any(row["event"] == "end" for row in ledger.read(RunDir(folder).events))


def curve(folder: Path) -> list[tuple[int, float]]:
    """(training tokens, held-out loss) of each evaluation of a run; nothing while it is not done."""
    if not is_done(folder):
        return []
    rows = ledger.read(RunDir(folder).metrics)
    tokens = {row["step"]: row["tokens"] for row in rows if "tokens" in row}
    return [(tokens.get(row["step"], 0), row["val_loss"]) for row in rows if "val_loss" in row]


def print_table(size: Size, curves: dict[str, list[list[tuple[int, float]]]]) -> None:
    """Loss, its difference to the rung it stands on, and the tokens until the first rung's final loss."""
    print("| rung | change | held-out loss | difference | p | tokens to the first rung's loss |")
    print("|---|---|---|---|---|---|")
    base = [found[-1][1] for found in curves[size.rungs[0].name]]
    goal, below = statistics.mean(base), base
    for rung in size.rungs:
        if rung.name not in curves:
            continue
        finals = [found[-1][1] for found in curves[rung.name]]
        shares = [tokens_to(found, goal) / size.tokens for found in curves[rung.name]]
        needed = f"{statistics.mean(shares):.2f}" if all(map(math.isfinite, shares)) else "more than 1"
        name = rung.name if rung.kept else f"({rung.name})"
        print(f"| {name} | {rung.what} | {spread(finals)} | {difference(finals, below)} | {needed} |")
        below = finals if rung.kept else below
    for name in filter(curves.__contains__, SHORTER):
        short, share = [found[-1][1] for found in curves[name]], 1 / SHORTER[name]
        row = [name, f"all that is kept, {share:.3f} of the tokens", spread(short)]
        row += [f"{statistics.mean(short) - goal:+.4f} to the first", f"{p_value(short, base) / 2:.1g}"]
        print(f"| {' | '.join([*row, f'{share:.3f}'])} |")


def spread(values: list[float]) -> str:
    """Mean and standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.4f} ± {error:.4f}"


def difference(values: list[float], others: list[float]) -> str:
    """Difference of the means and its p, as two cells."""
    if values == others:
        return "| "
    return f"{statistics.mean(values) - statistics.mean(others):+.4f} | {p_value(values, others):.1g}"


def tokens_to(found: list[tuple[int, float]], goal: float) -> float:
    """Training tokens at which a curve first reaches `goal`, between evaluations by a straight line."""
    for (t0, l0), (t1, l1) in itertools.pairwise(found):
        if l1 <= goal:
            return t0 + (t1 - t0) * (l0 - goal) / (l0 - l1) if l0 > goal else t0
    return math.inf


def p_value(a: list[float], b: list[float]) -> float:
    """Two-sided p of Welch's t-test (Welch 1947): whether the means of two groups differ."""
    if min(len(a), len(b)) < 2:
        return math.nan
    va, vb = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    t = abs(statistics.mean(a) - statistics.mean(b)) / math.sqrt(va + vb)
    free = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return 2 * tail(t, free)


def tail(t: float, free: float, pieces: int = 20_000) -> float:
    """P(T > t) of Student's t, by Simpson's rule; x = tan(u) makes the range finite."""
    log_scale = math.lgamma((free + 1) / 2) - math.lgamma(free / 2) - 0.5 * math.log(free * math.pi)

    def density(u: float) -> float:
        x = math.tan(u)
        return math.exp(log_scale - (free + 1) / 2 * math.log1p(x * x / free)) * (1 + x * x)

    return simpson(density, math.atan(t), math.pi / 2 - 1e-9, pieces)


def simpson(f: Callable[[float], float], low: float, high: float, pieces: int) -> float:
    """The integral of f from low to high."""
    h = (high - low) / pieces
    inner = sum((4 if i % 2 else 2) * f(low + i * h) for i in range(1, pieces))
    return (f(low) + inner + f(high)) * h / 3


def results(size: Size, plan: dict[str, str], curves: dict[str, Any]) -> dict[str, Any]:
    """What was run, where, and every curve."""
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else machine
    rungs = {name: {"flags": " ".join(flags.split()), "curves": curves[name]} for name, flags in plan.items()}
    return {"device": device, "torch": torch.__version__, "shared": size.flags, "rungs": rungs}


if __name__ == "__main__":
    raise SystemExit(main())
