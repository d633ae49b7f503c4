"""How many answers a second reinforcement learning gets, beside `generate` of transformers on the same model.

    .venv/bin/python benchmarks/rollouts.py --model runs/demo/dpo [--prompts 16] [--group 8] [--repeat 5] [--threads 1]
        [--dtype float32] [--clock wall] [--json FILE]

The workload is one step of RL on tinyworld: prompts, each answered `--group` times at temperature 1. (The demo's
recipe makes such a step of two micro-batches: `--prompts 8` is one of them.)
"own": answers as long as the model itself makes them (sampled once beforehand); "skewed": one in eight as long as
may be and the others short, as answers are while a model learns to stop; "even": all as long as may be. Both get the
same prompts and lengths, and no text ends earlier or later. transformers runs all rows at once until the longest is
done, which is how TRL samples without vLLM; in bfloat16 its weights are. Runs are interleaved, so that a busy moment
of the machine falls on both; the ratio is the median over pairs. Memory is the peak of a process that does one alone
("even"), above what it had before it loaded the model.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _contenders import memory
from _race import machine
from generation import CLOCKS, Work, ours, seconds, theirs

from neogpt.data.sources import tinyworld
from neogpt.inference.engine import Engine
from neogpt.inference.sampling_params import SamplingParams
from neogpt.model import GPT2, save_pretrained
from neogpt.model_store import load_model, load_tokenizer
from neogpt.records import RowStats
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import encode_prompt

Run = Callable[[], int]
CONTENDERS = ("neogpt", "transformers")
KINDS = ("own", "skewed", "even")
LIMIT = 56


def prompts(tokenizer: Tokenizer, n: int, group: int) -> list[list[int]]:
    """The first n requests that tinyworld has for RL, each `group` times."""
    items = [item for item, _ in zip(tinyworld.Tinyworld().prompts(RowStats()), range(n), strict=False)]
    return [encode_prompt(tokenizer, item.instruction) for item in items for _ in range(group)]


def lengths(kind: str, model: GPT2, tokenizer: Tokenizer, asked: list[list[int]]) -> list[int]:
    """New tokens for each prompt."""
    if kind == "even":
        return [LIMIT] * len(asked)
    if kind == "skewed":
        dice = random.Random(0)
        return [LIMIT if i % 8 == 0 else dice.randint(4, 12) for i in range(len(asked))]
    done = Engine(model, tokenizer, len(asked)).complete(asked, SamplingParams(LIMIT, temperature=1.0))
    return [len(answer.tokens) for answer in done]


def contender(name: str, options: argparse.Namespace, work: Work) -> Run:
    """What makes all the answers of `work` once."""
    model, dtype = load_model(options.model), getattr(torch, options.dtype)
    if name == "neogpt":
        return ours(model, len(work.prompts), work, None if dtype == torch.float32 else dtype)
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, load_tokenizer(options.model).eot_id)
        reference = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    return theirs(reference, len(work.prompts), work)


def works(kinds: tuple[str, ...], options: argparse.Namespace) -> dict[str, Work]:
    """The prompts and lengths of each workload."""
    model, tokenizer = load_model(options.model), load_tokenizer(options.model)
    asked = prompts(tokenizer, options.prompts, options.group)
    return {kind: Work(asked, lengths(kind, model, tokenizer, asked)) for kind in kinds}


def compare(work: Work, options: argparse.Namespace) -> dict[str, Any]:
    """Interleaved runs of both on one workload, after one of each to warm up."""
    runs = [contender(name, options, work) for name in CONTENDERS]
    for run in runs:
        run()
    pairs = [[seconds(run, CLOCKS[options.clock])[0] for run in runs] for _ in range(options.repeat)]
    ratios = sorted(other / mine for mine, other in pairs)
    tokens, columns = sum(work.n_new), zip(*pairs, strict=True)
    speeds = {name: tokens / median(column) for name, column in zip(CONTENDERS, columns, strict=True)}
    return {
        "tokens": tokens,
        "rows": len(work.n_new),
        "tokens_per_s": speeds,
        "ratio": median(ratios),
        "ratios": ratios,
        "seconds": pairs,
    }


def peak(name: str) -> int:
    """Bytes that one contender takes alone."""
    command = [sys.executable, *sys.argv, "--alone", name]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def alone(options: argparse.Namespace) -> None:
    """Print how much memory the "even" workload takes."""
    if options.alone == "transformers":
        import transformers  # noqa: F401
    before = memory("VmHWM")
    contender(options.alone, options, works(("even",), options)["even"])()
    print(memory("VmHWM") - before)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a run of the demo, a checkpoint or a model folder")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=5, help="pairs of runs")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: PyTorch's choice")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a machine busy with others")
    parser.add_argument("--json", default="", help="where all figures go")
    parser.add_argument("--alone", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    options.device = "cpu"
    return options


def main() -> None:
    """Compare and print a line for each workload."""
    options = parsed()
    if options.alone:
        alone(options)
        return
    results: dict[str, Any] = {"machine": machine(options, ("transformers",)), "runs": {}}
    results["peak_bytes"] = {name: peak(name) for name in CONTENDERS}
    rows = options.prompts * options.group
    print(f"{rows} rows, {torch.get_num_threads()} threads, {options.dtype}, {options.clock} clock")
    for kind, work in works(KINDS, options).items():
        found = results["runs"][kind] = compare(work, options)
        mine, other = found["tokens_per_s"].values()
        print(
            f"{kind:>6}: {found['tokens']} tokens: neogpt {mine:,.0f} tokens/s, transformers {other:,.0f} tokens/s; "
            f"ratio {found['ratio']:.2f} ({found['ratios'][0]:.2f} to {found['ratios'][-1]:.2f})",
            flush=True,
        )
    mine, other = (size / 2**20 for size in results["peak_bytes"].values())
    print(f"memory: neogpt {mine:.0f} MiB, transformers {other:.0f} MiB")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
