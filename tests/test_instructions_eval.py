"""The eval `instructions`: ROUGE-L against its definition, and scores of models that are known."""

import json
import random
import statistics
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from neogpt import evals
from neogpt.config import GPT2Config
from neogpt.data.source import Source
from neogpt.data.sources import jsonl, tinyworld
from neogpt.data.split import held_out
from neogpt.data.text_metrics import common_subsequence, repeated_share, rouge_l
from neogpt.errors import DataError
from neogpt.evals import base, instructions
from neogpt.inference import engine as inference_engine
from neogpt.inference.engine import Engine
from neogpt.inference.sampling_params import SamplingParams
from neogpt.model import GPT2
from neogpt.recipes import sft_dolly
from neogpt.records import RowStats
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import encode_example
from neogpt.train.parallel.distributed import World


def by_brute_force(one: str, other: str) -> int:
    """The longest of all 2^n selections of one text's letters that the other has in order."""
    for size in range(len(one), 0, -1):
        for chosen in combinations(one, size):
            rest = iter(other)
            if all(letter in rest for letter in chosen):
                return size
    return 0


def test_common_subsequence_is_the_longest_of_all() -> None:
    dice = random.Random(0)
    for _ in range(300):
        one, other = ("".join(dice.choices("abc", k=dice.randrange(9))) for _ in range(2))
        assert common_subsequence(one, other) == by_brute_force(one, other)


def test_rouge_l_is_that_of_the_package() -> None:
    scorer: Any = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score is not installed")
    referee = scorer.RougeScorer(["rougeL"], use_stemmer=False)
    dice = random.Random(1)
    words = ["The", "cat's", "sat,", "on", "2", "mats", "für", "E-mail", "...", "a_b"]
    for _ in range(200):
        one, other = (" ".join(dice.choices(words, k=dice.randrange(15))) for _ in range(2))
        assert rouge_l(one, other) == pytest.approx(referee.score(one, other)["rougeL"].fmeasure)


def test_rouge_l_by_hand() -> None:
    assert rouge_l("the cat sat", "The CAT sat!") == 1
    assert rouge_l("a b c d", "b x d") == pytest.approx(2 * 2 / 7)
    assert rouge_l("", "a") == rouge_l("a", "...") == 0


def test_repetition_by_hand() -> None:
    assert repeated_share([1, 2, 3]) == 0
    assert repeated_share([1, 2, 3, 4, 5]) == 0
    assert repeated_share([7] * 13) == pytest.approx(0.9)


# --- the whole eval ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["Who is number 1234567890? It is she. Response: Context:"] * 4, 300)


@pytest.fixture
def source(tmp_path: Path) -> jsonl.Jsonl:
    rows = [
        {"instruction": f"Who is {i}?", "response": f"It is {i}.", "category": f"kind {i % 2}"}
        for i in range(300)
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return jsonl.Jsonl(path=str(path))


def scores_of(net: GPT2, tokenizer: Tokenizer, source: Source, limit: int = 0) -> dict[str, float]:
    """Of a model that was taught the source, a fifth of which was held out."""
    subject = base.Subject(source=source, stage="sft", val_fraction=0.2)
    return instructions.Instructions(base.Config(limit=limit), subject).run(net, tokenizer, World())


def model(n_positions: int = 64) -> GPT2:
    return GPT2(GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=n_positions, vocab_size=300), seed=2)


def test_only_what_is_held_out_is_asked(source: jsonl.Jsonl, tokenizer: Tokenizer) -> None:
    found = instructions.cases(tokenizer, source, 0.2, 64)
    expected = {
        item.instruction
        for item in source.instructions(RowStats())
        if held_out(f"{item.instruction}\n{item.context}", 0.2)
    }
    assert {case.item.instruction for case in found} == expected
    fewer = instructions.cases(tokenizer, source, 0.05, 64)
    assert 0 < len(fewer) < len(found)
    assert found[: len(fewer)] == fewer


def test_scores_are_those_of_plain_pytorch(source: jsonl.Jsonl, tokenizer: Tokenizer) -> None:
    net = model()
    scores = scores_of(net, tokenizer, source, 9)
    chosen = instructions.cases(tokenizer, source, 0.2, 64)[:9]
    nll = []
    for case in chosen:
        prompt, response = encode_example(tokenizer, case.item.instruction, "", case.item.response)
        logits = net(torch.tensor([prompt + response]))[0, len(prompt) - 1 : -1]
        nll.append(F.cross_entropy(logits, torch.tensor(response), reduction="none").detach())
    assert scores["loss"] == pytest.approx(torch.cat(nll).mean().item(), rel=1e-5)
    assert scores["perplexity"] == pytest.approx(torch.cat(nll).mean().exp().item(), rel=1e-5)
    engine, greedy = Engine(net, tokenizer), SamplingParams(max_new_tokens=128, temperature=0)
    answers = [engine.complete([case.prompt], greedy)[0] for case in chosen]
    assert scores["stop"] == sum(a.finish_reason == "stop" for a in answers) / 9
    lengths = [len(a.tokens) for a in answers]
    assert scores["tokens"] == pytest.approx(statistics.mean(lengths))
    assert scores["tokens_stderr"] == pytest.approx(statistics.stdev(lengths) / 3)
    assert {f"{name}_stderr" for name in ("stop", "repetition", "rouge_l")} < set(scores)
    by_kind = [scores[f"rouge_l/kind {i}"] for i in range(2)]
    assert min(by_kind) <= scores["rouge_l"] <= max(by_kind)


class Parrot(Engine):
    """Gives every request the answer that stands in the data."""

    def complete(self, prompts: Any, *args: Any, **more: Any) -> Any:
        found = super().complete(prompts, *args, **more)
        for completion, prompt in zip(found, prompts, strict=True):
            asked = self.tokenizer.decode(prompt[1:]).partition("\n")[0]
            completion.__dict__.update(text=asked.replace("Who is", "It is").replace("?", "."))
        return found


def test_a_right_answer_has_a_rouge_of_one(
    source: jsonl.Jsonl, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_engine, "Engine", Parrot)
    scores = scores_of(model(), tokenizer, source)
    assert scores["rouge_l"] == scores["rouge_l/kind 0"] == 1
    assert scores["refused"] == 0


class Refuser(Engine):
    """Refuses the first three requests of each batch, in words of its own."""

    def complete(self, prompts: Any, *args: Any, **more: Any) -> Any:
        found = super().complete(prompts, *args, **more)
        for i, completion in enumerate(found):
            text = "I'm sorry, but I can't help with that." if i < 3 else "It is nobody, I think."
            completion.__dict__.update(text=text)
        return found


def test_refusals_of_ordinary_requests_are_counted(
    source: jsonl.Jsonl, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_engine, "Engine", Refuser)
    scores = scores_of(model(), tokenizer, source, 9)
    assert scores["refused"] == pytest.approx(3 / 9)
    assert scores["refused_stderr"] > 0


@pytest.mark.parametrize(
    ("own", "in_training", "fraction", "said"),
    [
        (True, True, 0.02, "--objective.val-fraction 0.05, or --eval.names samples"),
        (True, True, 0.05, "--objective.val-fraction 0.125, or --eval.names samples"),
        (True, True, 0.0001, "--objective.val-fraction 0.05, or --eval.names samples"),
        (False, True, 0.02, "try: --eval.names samples"),
        (True, False, 0.05, "`neogpt eval MODEL samples`, or a run that held out more"),
        (False, False, 0.02, "try: another eval, such as `neogpt eval MODEL samples`"),
    ],
)
def test_where_none_is_held_out_the_fraction_is_told_and_what_helps_there(
    source: jsonl.Jsonl,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    own: bool,
    in_training: bool,
    fraction: float,
    said: str,
) -> None:
    monkeypatch.setattr(instructions, "is_held_out", lambda text, val_fraction: False)
    monkeypatch.setattr(instructions.dolly, "Dolly", lambda: source)
    subject = base.Subject(
        source=source, stage="sft" if own else "", val_fraction=fraction, in_training=in_training
    )
    with pytest.raises(DataError, match=rf"\(held out: {fraction:g} of them\)") as error:
        instructions.Instructions(base.Config(), subject).run(model(), tokenizer, World())
    assert said in str(error.value)


def test_a_run_says_that_it_asks() -> None:
    subject = evals._subject(sft_dolly.sft())
    assert (subject.in_training, subject.stage) == (True, "sft")
    assert subject.val_fraction == sft_dolly.sft().objective.val_fraction  # type: ignore[attr-defined]


def test_the_world_can_be_asked_too_and_a_short_context_is_an_error(tokenizer: Tokenizer) -> None:
    world = tinyworld.Tinyworld(n_people=6, biographies=2)
    scores = scores_of(model(), tokenizer, world, 2)
    assert 0 <= scores["stop"] <= 1
    with pytest.raises(DataError, match="fits 8 tokens"):
        scores_of(model(8), tokenizer, world)
