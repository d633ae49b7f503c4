"""The source `rl-prompts` and the eval `formats`: what is trained_by_rl, what is examined, and how it is scored."""

import dataclasses
import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neogpt.cli import _train
from neogpt.config import BatchConfig, GPT2Config
from neogpt.data.response_formats import ASKS, OPEN, ask, asked, format_of, is_polar
from neogpt.data.sources import rl_prompts
from neogpt.data.split import held_out
from neogpt.errors import ConfigError, DataError
from neogpt.evals import base, formats
from neogpt.evals._counts import standard_error, with_errors
from neogpt.inference.engine import Engine
from neogpt.model import GPT2, save_pretrained
from neogpt.objectives.rl.objective import RL
from neogpt.objectives.rl.rewards import format as format_reward
from neogpt.objectives.rl.rewards.base import Answer, Known
from neogpt.records import RowStats
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import encode_example
from neogpt.train.parallel.distributed import World

GOOD = {
    "one sentence": "It is a small thing.",
    "numbered list": "1. a thing\n2. another",
    "list": "- a thing\n- another",
    "yes or no": "Yes.",
}


# --- forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", list(ASKS))
def test_what_is_put_behind_a_request_asks_for_that_form(form: Any) -> None:
    for request in ("What is a tope?", "  Tell me of 3 rivers. ", "Name the seas"):
        if asked(request) is None:
            found = asked(ask(request, form))
            assert found is not None
            assert (found.format, found.n) == (form, 0)


@pytest.mark.parametrize("form", list(ASKS))
def test_each_form_can_be_fulfilled_and_no_answer_fulfils_two(form: Any) -> None:
    item = rl_prompts.Instruction(ask("What is a tope?", form))
    known = Known(rl_prompts.RLPrompts())
    worth = {
        name: format_reward.reward(Answer(item, text, [1, 2], True, 9), known) for name, text in GOOD.items()
    }
    assert worth == {name: float(name == form) for name in GOOD}
    assert format_reward.reward(Answer(item, GOOD[form], [1, 2], False, 9), known) == 0


def test_only_polar_questions_are_answered_yes_or_no() -> None:
    for request in ("Is water wet?", "does bolivia have a wine scene?", " Can we time travel?"):
        assert is_polar(request)
        assert format_of(request) == "yes or no"
    for request in (
        "Can you tell me of Rome?",
        "Is it a cat or a dog?",
        "Is it? Say why.",
        "What is it?",
        "Island",
    ):
        assert not is_polar(request)
        assert format_of(request) in OPEN
    many = [format_of(f"What is number {i}?") for i in range(300)]
    assert min(many.count(form) for form in OPEN) > 70
    assert many == [format_of(f"What is number {i}?") for i in range(300)]


# --- the source --------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> rl_prompts.RLPrompts:
    asks = [{"instruction": f"What is {i}?", "response": f"It is {i}."} for i in range(300)]
    asks += [{"instruction": f"Is {i} even?", "response": "Yes."} for i in range(100)]
    asks += [{"instruction": "About this.", "context": "A text.", "response": "x"}]
    asks += [{"instruction": "List three numbers", "response": "- 1\n- 2\n- 3"}]
    pairs = [
        {"instruction": f"How do I harm {i}?", "chosen": "I can't.", "rejected": "Sure."} for i in range(40)
    ]
    places = []
    for name, rows in (("asks", asks), ("pairs", pairs)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        places.append(f"jsonl?path={path}")
    return rl_prompts.RLPrompts(of=(places[0],), sft_of=(places[1],), examined=0.2)


def test_bare_requests_are_rl_prompts_and_what_is_examined_is_not(config: rl_prompts.RLPrompts) -> None:
    found = [item.instruction for item in config.prompts(RowStats())]
    expected = [f"What is {i}?" for i in range(300)] + [f"Is {i} even?" for i in range(100)]
    expected = [ask(text, format_of(text)) for text in expected if not held_out(f"{text}\n", 0.2)]
    assert found == [*expected, *["List three numbers"] * (not held_out("List three numbers\n", 0.2))]
    assert all(asked(text) for text in found)
    assert all(item.response == "" for item in config.prompts(RowStats()))


def test_the_sft_mix_has_the_chosen_answers(config: rl_prompts.RLPrompts) -> None:
    found = list(config.pairs(RowStats()))
    assert {pair.chosen for pair in found} == {"I can't."}
    assert len(found) == 40
    assert len(config.parts()) == 2


def test_a_source_without_requests_is_refused() -> None:
    with pytest.raises(ConfigError, match="contrasts has no instructions"):
        list(rl_prompts.RLPrompts(of=("contrasts",)).prompts(RowStats()))


# --- the eval ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = ["What is number 1234567890? Is it even? Answer in one sentence. Response: Context:"] * 4
    return Tokenizer.train(texts + [*ASKS.values()] * 4, 400)


def model(n_positions: int = 160) -> GPT2:
    return GPT2(GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=n_positions, vocab_size=400), seed=2)


def exam(config: rl_prompts.RLPrompts, limit: int = 0) -> formats.Formats:
    return formats.Formats(base.Config(limit=limit), base.Subject(source=config))


class Scripted(Engine):
    """Answers every request in the form that it asks for, but questions about a number with a 7 badly."""

    def complete(self, prompts: Any, *args: Any, **more: Any) -> Any:
        found = super().complete(prompts, *args, **more)
        for completion, prompt in zip(found, prompts, strict=True):
            request = self.tokenizer.decode(prompt[1:]).partition("\nResponse")[0].strip()
            wanted = asked(request)
            assert wanted is not None
            text = "Hm" if "7" in request else GOOD[wanted.format]
            completion.__dict__.update(text=text, finish_reason="stop")
        return found


def test_scores_are_shares_with_their_standard_errors(
    config: rl_prompts.RLPrompts, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neogpt.inference.engine.Engine", Scripted)
    scores = exam(config).run(model(), tokenizer, World())
    texts = [f"What is {i}?" for i in range(300)] + [f"Is {i} even?" for i in range(100)]
    texts = [text for text in texts if held_out(f"{text}\n", 0.2)]
    right = {
        form: [float("7" not in text) for text in texts if format_of(text) == form]
        for form in formats.FORMATS
    }
    for form, values in right.items():
        name = form.replace(" ", "_")
        assert scores[name] == pytest.approx(statistics.mean(values))
        error = statistics.stdev(values) / math.sqrt(len(values))
        assert scores[f"{name}_stderr"] == pytest.approx(error)
        assert scores[f"{name}_stderr"] == pytest.approx(standard_error(int(sum(values)), len(values)))
    assert scores["followed"] == pytest.approx(
        statistics.mean(v for values in right.values() for v in values)
    )
    assert 0 < scores["followed"] < 1
    assert scores["stop"] == 1
    fewer = exam(config, 2).run(model(), tokenizer, World())
    assert set(fewer) == set(scores)


def test_what_is_examined_is_in_no_rl_prompt(config: rl_prompts.RLPrompts, tokenizer: Tokenizer) -> None:
    examined = {case.item.instruction for case in formats.held_out(tokenizer, config, 160)}
    trained_by_rl = {item.instruction for item in config.prompts(RowStats())}
    assert examined
    assert not examined & trained_by_rl
    assert len(examined | trained_by_rl) > 390
    assert [row["verdict"] for row in exam(config).samples(model(), tokenizer, World())] == [
        "not followed"
    ] * 8


def test_a_context_that_is_too_short_is_an_error(config: rl_prompts.RLPrompts, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="64 of 70 tokens"):
        exam(config).run(model(70), tokenizer, World())


def test_errors_of_means_are_those_of_the_book() -> None:
    values = list(np.random.default_rng(0).normal(3, 2, 40))
    scores = with_errors({"x": values, "one": [2.0]})
    assert scores["x"] == pytest.approx(statistics.mean(values))
    assert scores["x_stderr"] == pytest.approx(statistics.stdev(values) / math.sqrt(40))
    assert (scores["one"], scores["one_stderr"]) == (2.0, 0.0)


# --- the recipe --------------------------------------------------------------------------------------------


def trained_by_rl(config: rl_prompts.RLPrompts, tokenizer: Tokenizer, start: GPT2, **changes: Any) -> RL:
    """The recipe's objective on small data, begun."""
    run = _train.recipe("rl", "rl-dolly")
    small = {"num_generations": 2, "max_completion_length": 8, "sft_rows": 4, "val_fraction": 0.2, **changes}
    options = dataclasses.replace(run.objective, **small)
    batch = BatchConfig(size=4, micro_batches=2)
    run = dataclasses.replace(run, source=config, objective=options, batch=batch, dtype="float32", threads=1)
    made = RL(run, tokenizer, 160)
    made.begin(start)
    return made


def test_the_recipe_rewards_the_one_and_mixes_in_the_other(
    config: rl_prompts.RLPrompts, tokenizer: Tokenizer
) -> None:
    made = trained_by_rl(config, tokenizer, model())
    batch = made.batch(0, 0)
    texts = [tokenizer.decode([t for t in row if t != tokenizer.eot_id]) for row in batch.tokens.tolist()]
    assert all(asked(text.partition("\n")[0]) for text in texts)
    mixed_in = [tokenizer.decode(row) for row in batch.extra["sft"].tokens.tolist()]
    assert all("How do I harm" in text and "I can't" in text for text in mixed_in)
    assert torch.isfinite(torch.as_tensor(batch.extra["advantages"])).all()


def test_the_band_is_that_of_peoples_answers_and_refusals_do_not_move_it(
    config: rl_prompts.RLPrompts, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """Held-out answers to the bare requests, by hand: one forward each, and no answer of the SFT mix-in."""
    start = model()
    rows = [(f"What is {i}?", f"It is {i}.") for i in range(300)]
    rows += [(f"Is {i} even?", "Yes.") for i in range(100)] + [("List three numbers", "- 1\n- 2\n- 3")]
    means, lengths = [], []
    for request, text in rows:
        if held_out(f"{request}\n", 0.2):
            prompt, answer = encode_example(tokenizer, request, "", text)
            logps = start(torch.tensor([prompt + answer])).log_softmax(-1)[0, len(prompt) - 1 : -1]
            means.append(logps.gather(1, torch.tensor(answer)[:, None]).mean().item())
            lengths.append(len(answer))
    human = trained_by_rl(config, tokenizer, start).rollouts.known.human
    assert human.log_prob == pytest.approx((statistics.mean(means), statistics.pstdev(means)), rel=1e-4)
    assert human.tokens == tuple(np.percentile(lengths, [5, 95]))
    more = [{"instruction": f"Harm {i}?", "chosen": "No! " * 9, "rejected": "Sure."} for i in range(90)]
    (tmp_path / "more.jsonl").write_text("\n".join(map(json.dumps, more)))
    other = dataclasses.replace(config, sft_of=(*config.sft_of, f"jsonl?path={tmp_path / 'more.jsonl'}"))
    assert trained_by_rl(other, tokenizer, start).rollouts.known.human == human


def test_coherence_may_be_asked_of_another_model(
    config: rl_prompts.RLPrompts, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    start, base = model(), GPT2(model().config, seed=9)
    save_pretrained(base, tmp_path / "base")
    tokenizer.save(tmp_path / "base")
    of_base = trained_by_rl(config, tokenizer, base).rollouts
    own = trained_by_rl(config, tokenizer, start, coherence_model=str(tmp_path / "base"))
    assert own.rollouts.known.human == of_base.known.human
    prompts = own.prompts[:2]
    answers, _ = own.rollouts.scored(start, prompts, 0, range(2))
    expected = own.sampler.judged(base, prompts, answers, True)
    assert [answer.log_probs for answer in answers] == [answer.log_probs for answer in expected]
    assert not own.sampler.distance(start, own.reference, prompts, answers).mean  # the start still pulls back
    Tokenizer.train(["Another vocabulary."], 300).save(tmp_path / "base")
    with pytest.raises(ConfigError, match="cannot read what this one writes"):
        trained_by_rl(config, tokenizer, start, coherence_model=str(tmp_path / "base"))
