"""How many answers a second reinforcement learning gets, beside `generate` of transformers on the same model.

    .venv/bin/python benchmarks/rollouts.py --model runs/demo/dpo [--prompts 8] [--group 8] [--repeat 5] [--threads 1]

The workload is one micro-batch of RL on tinyworld: prompts, each answered `--group` times at temperature 1.
"own": answers as long as the model itself makes them (sampled once beforehand); "skewed": one in eight as long as
may be and the others short, as answers are while a model learns to stop; "even": all as long as may be. Both get the
same prompts and lengths, and no text ends earlier or later. transformers runs all rows at once until the longest is
done, which is how TRL samples without vLLM. Runs are interleaved, so that a busy moment of the machine falls on both;
the ratio is the median over pairs.
"""

import argparse
import random
import tempfile

import torch
from generation import CLOCKS, Work, ours, seconds, theirs

from neogpt.checkpoint import load_model, load_tokenizer
from neogpt.data.records import Quarantine
from neogpt.data.sources import tinyworld
from neogpt.generate import Engine, Sampling
from neogpt.model import GPT2, save_pretrained
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import encode_prompt

LIMIT = 56


def prompts(tokenizer: Tokenizer, n: int, group: int) -> list[list[int]]:
    """The first n requests that tinyworld practises, each `group` times."""
    items = [
        item for item, _ in zip(tinyworld.prompts(tinyworld.Config(), Quarantine()), range(n), strict=False)
    ]
    return [encode_prompt(tokenizer, item.instruction) for item in items for _ in range(group)]


def lengths(kind: str, model: GPT2, tokenizer: Tokenizer, asked: list[list[int]]) -> list[int]:
    """New tokens for each prompt."""
    if kind == "even":
        return [LIMIT] * len(asked)
    if kind == "skewed":
        dice = random.Random(0)
        return [LIMIT if i % 8 == 0 else dice.randint(4, 12) for i in range(len(asked))]
    done = Engine(model, tokenizer, len(asked)).complete(asked, Sampling(LIMIT, temperature=1.0))
    return [len(answer.tokens) for answer in done]


def main() -> None:
    """Compare and print a line for each workload."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a run of the demo, a checkpoint or a model folder")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=5, help="pairs of runs")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: PyTorch's choice")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a machine busy with others")
    options = parser.parse_args()
    from transformers import AutoModelForCausalLM

    if options.threads:
        torch.set_num_threads(options.threads)
    model, tokenizer = load_model(options.model), load_tokenizer(options.model)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, tokenizer.eot_id)
        reference = AutoModelForCausalLM.from_pretrained(folder).eval()
    asked = prompts(tokenizer, options.prompts, options.group)
    print(
        f"{model.n_params:,} parameters, {len(asked)} rows, {torch.get_num_threads()} threads, {options.clock} clock"
    )
    for kind in ("own", "skewed", "even"):
        work = Work(asked, lengths(kind, model, tokenizer, asked))
        compare(kind, work, model, reference, options.repeat, options.clock)


def compare(kind: str, work: Work, model: GPT2, reference: torch.nn.Module, repeat: int, clock: str) -> None:
    """Interleaved runs of both on one workload, after one of each to warm up."""
    runs = [ours(model, len(work.prompts), work), theirs(reference, len(work.prompts), work)]
    speeds = [
        [tokens / taken for taken, tokens in (seconds(run, CLOCKS[clock]) for run in runs)]
        for _ in range(repeat + 1)
    ]
    ratios = sorted(mine / other for mine, other in speeds[1:])
    mine, other = (sorted(column)[repeat // 2] for column in zip(*speeds[1:], strict=True))
    print(
        f"{kind:>6}: {sum(work.n_new)} tokens: neogpt {mine:,.0f} tokens/s, transformers {other:,.0f} tokens/s; "
        f"ratio {ratios[len(ratios) // 2]:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
