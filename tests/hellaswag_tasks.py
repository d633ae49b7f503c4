"""Small HellaSwag files and models for the tests of the eval and of its bridge to lm-eval."""

import json
import random
from pathlib import Path
from typing import Any

import torch

from neogpt.config import GPT2Config
from neogpt.evals._hellaswag_tasks import NAME, Task, read
from neogpt.model import GPT2, save_pretrained
from neogpt.tokenizer import Tokenizer

RAW = {
    "ind": 24,
    "activity_label": "Roof shingle removal",
    "ctx_a": "A man is sitting on a roof.",
    "ctx_b": "he",
    "ctx": "A man is sitting on a roof. he",
    "split": "val",
    "split_type": "indomain",
    "label": 3,
    "endings": [
        "is using wrap.",
        "is ripping level tiles off.",
        "holds a cube.",
        "starts pulling up roofing.",
    ],
    "source_id": "activitynet~v_-JhWjGDPHMY",
}
WIKIHOW = {
    **RAW,
    "activity_label": "Home and Garden",
    "ctx": "[header] How to fix a roof [title] Climb up. [step] Take a ladder.",
    "ctx_a": "[header] How to fix a roof [title] Climb up. [step] Take a ladder.",
    "ctx_b": "",
    "endings": ["Climb  it. [substeps] Hold on.", "Sell it.", "[title] Fall. [step] Get up.", "Sleep on it."],
    "label": 0,
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A file of tasks."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def real_tasks(real_data: Path, n: int) -> list[Task]:
    """Real tasks, half from ActivityNet and half from WikiHow."""
    tasks = read(real_data / "hellaswag" / NAME)
    return tasks[: n // 2] + tasks[-(n - n // 2) :]


def trained_tokenizer(tasks: list[Task], vocab_size: int = 700) -> Tokenizer:
    """A vocabulary that fits the tasks and is small, so that heads are quick."""
    return Tokenizer.train([f"{t.ctx} {' '.join(t.endings)}" for t in tasks], vocab_size)


def random_model(vocab_size: int, n_positions: int, seed: int = 1, n_embd: int = 32) -> GPT2:
    """A model with random weights large enough for opinions."""
    config = GPT2Config(n_layer=2, n_head=2, n_embd=n_embd, n_positions=n_positions, vocab_size=vocab_size)
    model = GPT2(config, seed=seed).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter += 0.15 * torch.randn(parameter.shape, generator=generator)
    return model


def save(model: GPT2, tokenizer: Tokenizer, folder: Path) -> Path:
    """A Hugging Face directory."""
    folder.mkdir(parents=True, exist_ok=True)
    save_pretrained(model, folder, tokenizer.eot_id)
    tokenizer.save(folder, model.config.n_positions)
    return folder


def words(n: int, seed: int) -> str:
    """Some words of no sense."""
    dice = random.Random(seed)
    return " ".join("".join(dice.choices("abcdefgh", k=dice.randint(1, 6))) for _ in range(n))


def made_up(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Tasks of no sense, as rows: contexts and endings of many lengths, some endings equal, some of a letter."""
    dice = random.Random(seed)
    rows = []
    for i in range(n):
        endings = [words(dice.choice([1, 1, 3, 8]), 10 * i + j) for j in range(4)]
        if i % 5 == 0:
            endings[dice.randrange(1, 4)] = endings[0]
        if i % 7 == 0:
            endings[3] = f"{endings[2]} {words(2, i)}"
        if i % 11 == 0:
            endings[1] = words(60, i)
        if i % 3 == 0:
            endings[2] = "a"
        ctx = words(dice.choice([0, 1, 5, 30]), i)
        rows.append({"activity_label": "Made up", "ctx": ctx, "endings": endings, "label": dice.randrange(4)})
    return rows
