"""How many HellaSwag tasks a second NeoGPT scores, beside one task at a time as build-nanogpt and the original do.

    NEOGPT_DATA=DIR .venv/bin/python benchmarks/hellaswag.py [--tasks 200] [--repeat 3] [--n-layer 6] [--n-embd 384]

The peer is their algorithm in plain code on the same model: the four rows of a task, context and ending, padded to
the longest; all logits; cross-entropy of the endings' tokens; the smallest mean. Half of the tasks come from
ActivityNet, half from WikiHow, as in no prefix of the file. Runs are interleaved, so that a busy moment of the
machine falls on both; medians are shown, in wall and in processor time. Predictions are compared; the weights are
random (speed does not depend on them), or those of `--model DIR`.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from neogpt.config import GPT2Config
from neogpt.evals import _hellaswag_scoring, _hellaswag_tasks
from neogpt.evals._hellaswag_tasks import Task
from neogpt.model import GPT2
from neogpt.model_store import load_model
from neogpt.tokenizer import Tokenizer

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@torch.inference_mode()
def one_by_one(model: GPT2, tokenizer: Tokenizer, tasks: list[Task]) -> list[int]:
    found = []
    for task in tasks:
        context = tokenizer.encode(task.ctx)
        endings = [tokenizer.encode(" " + ending) for ending in task.endings]
        longest = len(context) + max(map(len, endings))
        tokens_BT, mask_BT = torch.zeros(4, longest, dtype=torch.int64), torch.zeros(4, longest)
        for i, ending in enumerate(endings):
            tokens_BT[i, : len(context) + len(ending)] = torch.tensor(context + ending)
            mask_BT[i, len(context) : len(context) + len(ending)] = 1
        tokens_BT, mask_BT = tokens_BT.to(model.device), mask_BT.to(model.device)
        logits_BTV = model(tokens_BT)[:, :-1]
        loss_N = F.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT[:, 1:].flatten(), reduction="none")
        loss_BT, mask_BT = loss_N.view(4, -1), mask_BT[:, 1:]
        found.append(int(((loss_BT * mask_BT).sum(1) / mask_BT.sum(1)).argmin()))
    return found


def ours(model: GPT2, tokenizer: Tokenizer, tasks: list[Task]) -> list[int]:
    items = _hellaswag_scoring.encoded(tokenizer, tasks, "build-nanogpt")
    return [normed for _, normed in _hellaswag_scoring.predictions(model, items)]


def timed(work: Callable[[], list[int]]) -> tuple[dict[str, float], list[int]]:
    began = {name: clock() for name, clock in CLOCKS.items()}
    found = work()
    return {name: clock() - began[name] for name, clock in CLOCKS.items()}, found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=200, help="how many")
    parser.add_argument("--repeat", type=int, default=3, help="samples each")
    parser.add_argument("--n-layer", type=int, default=6)
    parser.add_argument("--n-embd", type=int, default=384, help="a multiple of 64")
    parser.add_argument(
        "--model", default="", help="a saved model with GPT-2's vocabulary, in place of random weights"
    )
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    shape = GPT2Config(n_layer=options.n_layer, n_embd=options.n_embd, n_head=options.n_embd // 64)
    model = load_model(options.model) if options.model else GPT2(shape).eval()
    model.to(options.device)
    tokenizer, tasks = Tokenizer.gpt2(), _hellaswag_tasks.read()
    half = options.tasks // 2
    tasks = tasks[:half] + tasks[len(tasks) - (options.tasks - half) :]
    runs = {"one by one": one_by_one, "neogpt": ours}
    for work in runs.values():
        work(model, tokenizer, tasks[:8])
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    answers = {}
    for _ in range(options.repeat):
        for name, work in runs.items():
            seconds, answers[name] = timed(lambda work=work: work(model, tokenizer, tasks))  # type: ignore[misc]
            samples[name].append(seconds)
    same = sum(a == b for a, b in zip(*answers.values(), strict=True))
    print(f"{model.n_params / 1e6:.1f}M parameters, {len(tasks)} tasks, {same} predictions equal")
    for clock in CLOCKS:
        for name, found in samples.items():
            median = statistics.median(run[clock] for run in found)
            print(f"{clock:<5}{name:<12}{len(tasks) / median:8.2f} tasks/s")
        pairs = zip(*samples.values(), strict=True)
        ratios = sorted(peer[clock] / mine[clock] for peer, mine in pairs)
        print(f"{clock:<5}ratio       {statistics.median(ratios):8.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
