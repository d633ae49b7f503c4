"""How many tokens a second NeoGPT's engine makes, beside `generate` of transformers on the same model and prompts.

    .venv/bin/python benchmarks/generation.py [--rows 64] [--prompts 256] [--repeat 5] [--model DIR] [--device cpu]

Three workloads: "skewed", where one answer in eight is long and the others are short, as answers of a chat are;
"ragged", prompts and answers of many lengths; and "even", where all are equally long, which costs transformers no
padding and leaves only the arithmetic, which is the same. All draw at temperature 1 from the same weights and give
each prompt the same number of new tokens; no text ends early. transformers gets the prompts in batches of `--rows`,
sorted by length and padded on the left, and each batch runs to its longest answer: its own best use without a
scheduler. Runs are interleaved, so that a busy moment of the machine falls on both; medians are shown.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from neogpt.config import GPT2Config
from neogpt.inference.engine import Engine
from neogpt.inference.sampling_params import SamplingParams
from neogpt.model import GPT2, save_pretrained
from neogpt.model_store import load_model

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class AnyTokens:
    """Stands in for a tokenizer: only the ids matter here. No text ends before its length."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size, self.eot_id = vocab_size, vocab_size

    def decode(self, ids: list[int]) -> str:
        return ""


@dataclass(frozen=True)
class Work:
    """Prompts and how many tokens follow each."""

    prompts: list[list[int]]
    n_new: list[int]


def workload(kind: str, n: int, config: GPT2Config) -> Work:
    rng = random.Random(0)
    longest = min(80, config.n_positions - 40)
    lengths = [24 if kind == "even" else rng.randint(6, 40) for _ in range(n)]
    n_new = {
        "even": [32] * n,
        "ragged": [rng.randint(4, 48) for _ in range(n)],
        "skewed": [longest if i % 8 == 0 else rng.randint(4, 12) for i in range(n)],
    }[kind]
    return Work([[rng.randrange(config.vocab_size) for _ in range(k)] for k in lengths], n_new)


def ours(model: GPT2, rows: int, work: Work, dtype: torch.dtype | None = None) -> Callable[[], int]:
    engine = Engine(model, AnyTokens(model.config.vocab_size), rows, dtype)  # type: ignore[arg-type]
    sampling = [SamplingParams(max_new_tokens=n, temperature=1.0) for n in work.n_new]
    return lambda: sum(len(c.tokens) for c in engine.complete(work.prompts, sampling))


def theirs(model: Any, rows: int, work: Work) -> Callable[[], int]:
    order = sorted(range(len(work.prompts)), key=lambda i: len(work.prompts[i]))
    batches = [order[at : at + rows] for at in range(0, len(order), rows)]

    def run() -> int:
        for batch in batches:
            prompts = [work.prompts[i] for i in batch]
            longest = max(map(len, prompts))
            ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=model.device)
            seen = torch.tensor(
                [[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=model.device
            )
            n_new = max(work.n_new[i] for i in batch)
            model.generate(
                ids,
                attention_mask=seen,
                do_sample=True,
                top_k=0,
                min_new_tokens=n_new,
                max_new_tokens=n_new,
                pad_token_id=0,
            )
        return sum(work.n_new)  # only what was asked for counts

    return run


def seconds(run: Callable[[], int], clock: Callable[[], float]) -> tuple[float, int]:
    began = clock()
    tokens = run()
    return clock() - began, tokens


def compare(kind: str, model: GPT2, reference: Any, options: argparse.Namespace) -> None:
    work = workload(kind, options.prompts, model.config)
    runs = {"neogpt": ours(model, options.rows, work), "transformers": theirs(reference, options.rows, work)}
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(options.repeat):
        for name, run in runs.items():
            taken, tokens = seconds(run, CLOCKS[options.clock])
            speeds[name].append(tokens / taken)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratio = statistics.median(a / b for a, b in zip(speeds["neogpt"], speeds["transformers"], strict=True))
    figures = ", ".join(f"{name} {value:,.0f} tokens/s" for name, value in medians.items())
    print(
        f"{kind:>6}: {len(work.prompts)} prompts, {sum(work.n_new)} tokens: {figures}; ratio {ratio:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=64, help="texts at once")
    parser.add_argument("--prompts", type=int, default=256, help="prompts in all")
    parser.add_argument("--repeat", type=int, default=5, help="samples of each")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: PyTorch's choice")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: for a machine that is busy with others"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    parser.add_argument("--model", default="", help="a model folder; empty: the demo's size, random weights")
    options = parser.parse_args()
    from transformers import AutoModelForCausalLM

    if options.threads:
        torch.set_num_threads(options.threads)
    demo = GPT2Config(n_layer=4, n_head=4, n_embd=128, n_positions=128, vocab_size=1055)
    model = (load_model(options.model) if options.model else GPT2(demo)).to(options.device)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        reference = AutoModelForCausalLM.from_pretrained(folder).to(options.device).eval()
    print(
        f"{model.n_params:,} parameters, {options.rows} rows, {torch.get_num_threads()} threads, {options.device}"
    )
    for kind in ("skewed", "ragged", "even"):
        compare(kind, model, reference, options)


if __name__ == "__main__":
    main()
