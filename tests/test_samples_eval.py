"""The fixed samples: what is asked, that greedy is the most probable token; the report sets the stages in a row."""

from pathlib import Path

import pytest
import torch
from generation_models import byte_tokenizer, random_model
from report_ledgers import write_demo

from neogpt import ledger
from neogpt.cli import _train
from neogpt.evals import base, samples
from neogpt.model import GPT2
from neogpt.report import markdown, runs
from neogpt.tokenizer.template import encode_prompt
from neogpt.train.parallel.distributed import World

TOK = byte_tokenizer()
EVAL = samples.Samples(base.Config())
CONTENT = [
    (stage, name)
    for stage in ("pretrain", "sft", "dpo")
    for name in _train.recipes(stage)
    if name not in ("tinyworld", "demo")
]


@pytest.fixture(scope="module")
def model() -> GPT2:
    return random_model(n_positions=192)


def most_probable(model: GPT2, prompt: list[int], most: int) -> tuple[list[int], bool]:
    """Word after word by the whole forward pass, without a cache; whether end-of-text came."""
    ids = list(prompt)
    while len(ids) - len(prompt) < most and len(ids) < model.config.n_positions:
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
        if ids[-1] == TOK.eot_id:
            return ids[len(prompt) : -1], True
    return ids[len(prompt) :], False


def test_dialogues_are_answered_by_greedy_decoding_and_at_a_fixed_seed(model: GPT2) -> None:
    rows = EVAL.samples(model, TOK, World())
    assert EVAL.samples(model, TOK, World()) == rows
    by_question = {row["question"]: row for row in rows}
    assert len(samples.DIALOGUES) == 5
    for text in samples.DIALOGUES:
        ids, ended = most_probable(model, encode_prompt(TOK, text), 96)
        greedy = by_question[f"{text} (greedy)"]
        assert greedy["answer"] == TOK.decode(ids)
        assert greedy["verdict"] == ("" if ended else "cut off")
        assert by_question[f"{text} (drawn, seed 42)"]["answer"] != greedy["answer"]
    assert EVAL.run(model, TOK, World()) == {
        "stop": sum(not row["verdict"] for row in rows if row["question"] in asked()) / len(asked())
    }


def asked() -> list[str]:
    return [*samples.REQUESTS, *(f"{text} (drawn, seed 42)" for text in samples.DIALOGUES)]


@pytest.mark.parametrize(("stage", "name"), CONTENT)
def test_every_stage_on_real_text_writes_them(stage: str, name: str) -> None:
    assert "samples" in _train.recipe(stage, name).eval.names


def test_the_report_sets_the_stages_side_by_side(tmp_path: Path, model: GPT2) -> None:
    stages = ("pretrain", "sft", "dpo")
    folder = write_demo(tmp_path, stages)
    for name in stages:
        for row in EVAL.samples(model, TOK, World()):
            answer = f"As {name} has it."
            ledger.append(
                folder / name / "samples.jsonl", {"step": 9000, "eval": "samples", **row, "answer": answer}
            )
    stages_read, notes = runs.read(folder)
    text = markdown.page("Three stages", stages_read, notes, [])
    part = text[text.index("How do you play basketball? (greedy)") :].split("\n\n")[1]
    assert [line.partition(": ")[2].split(".")[0] for line in part.splitlines()] == [
        f"As {name} has it" for name in stages
    ]
