"""The ledger of a pretraining run on text with GPT-2's vocabulary, made up, for the tests of comparisons."""

import math
import random
from pathlib import Path
from typing import Any

import tomli_w

from neogpt import ledger

SHAPE = {"n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024, "vocab_size": 50257}


def loss(tokens: float) -> float:
    """A loss that falls as a power of the tokens."""
    return 1.7 + 9.2 * (1 + tokens / 3e7) ** -0.3


def write_run(root: Path, steps: int = 2000, tokens_per_step: int = 5_242_880, **settings: Any) -> Path:
    """A run of `steps` logged steps; evaluations each twentieth of it."""
    root.mkdir(parents=True)
    values = {"recipe": "gpt2-124m", "stage": "pretrain", "steps": steps, "model": SHAPE}
    values |= {"source": {"kind": "fineweb-edu"}, "eval": {"names": ["hellaswag"]}, **settings}
    (root / "config.toml").write_text(tomli_w.dumps(values))
    noise = random.Random(0)
    for step in range(steps + 1):
        tokens = step * tokens_per_step
        if step:
            row = {
                "step": step,
                "tokens": tokens,
                "loss": loss(tokens) + noise.gauss(0, 0.04),
                "grad_norm": 1,
            }
            ledger.append(root / "metrics.jsonl", row)
        if step % (steps // 20) == 0:
            share = 0.25 + 0.012 * math.log1p(tokens / 3e8) + noise.gauss(0, 0.001)
            scores = {"hellaswag/acc_norm": share, "hellaswag/acc": share - 0.008}
            scores |= {"hellaswag/acc_norm_stderr": 0.0045, "hellaswag/acc_stderr": 0.0044}
            row = {"step": step, "val_loss": loss(tokens) + 0.02, **(scores if step else {})}
            ledger.append(root / "metrics.jsonl", row)
    return root
