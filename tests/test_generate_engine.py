"""The engine against transformers, the uncached model, and itself one prompt at a time."""

import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from generation_models import byte_tokenizer, random_model, scripted_model
from hypothesis import given, settings
from hypothesis import strategies as st

import neogpt
from neogpt.errors import ConfigError, DivergedError
from neogpt.inference.engine import Completion, Engine
from neogpt.inference.forward import Inference
from neogpt.inference.kv_cache import KVCache
from neogpt.inference.sampling_params import SamplingParams
from neogpt.model import GPT2, save_pretrained

TOK = byte_tokenizer()
GREEDY = SamplingParams(max_new_tokens=20, temperature=0.0)
WARM = SamplingParams(max_new_tokens=20, temperature=1.0, seed=3)


def some_prompts(n: int, longest: int = 40, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(TOK.vocab_size) for _ in range(rng.randint(1, longest))] for _ in range(n)]


def tokens(completions: list[Completion]) -> list[list[int]]:
    return [completion.tokens for completion in completions]


# Against transformers


@pytest.mark.parametrize("seed", [0, 1])
def test_greedy_text_is_that_of_transformers(seed: int, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = random_model(seed)
    save_pretrained(model, tmp_path, eot_id=TOK.eot_id)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    prompts = some_prompts(24, longest=60, seed=seed)
    ours = Engine(model, TOK, max_rows=7).complete(prompts, replace(GREEDY, max_new_tokens=30))
    for prompt, completion in zip(prompts, ours, strict=True):
        n_new = min(30, model.config.n_positions - len(prompt))
        ids = torch.tensor([prompt])
        out = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=n_new, do_sample=False, pad_token_id=0
        )
        assert completion.tokens == out[0, len(prompt) :].tolist()
    assert len({tuple(t) for t in tokens(ours)}) > 20


# Against the model without cache or batch


def test_log_probabilities_are_those_of_the_uncached_model() -> None:
    model = random_model()
    options = [
        SamplingParams(20, temperature=0.7),
        SamplingParams(20, temperature=1.0, top_k=5),
        SamplingParams(20, temperature=1.3, top_p=0.7, repetition_penalty=1.4),
        SamplingParams(20, temperature=0.0),
    ]
    prompts = some_prompts(32)
    sampling = [options[i % 4] for i in range(32)]
    for prompt, one, completion in zip(
        prompts, sampling, Engine(model, TOK, 5).complete(prompts, sampling), strict=True
    ):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion.tokens]))[0, len(prompt) - 1 : -1]
        log_p = (logits / (one.temperature or 1.0)).log_softmax(-1)
        expected = log_p.gather(1, torch.tensor(completion.tokens)[:, None])[:, 0]
        assert completion.log_probs == pytest.approx(expected.tolist(), abs=2e-4)
        assert len(completion.log_probs) == len(completion.tokens)


def test_first_tokens_are_as_frequent_as_the_model_says() -> None:
    """20,000 requests for one prompt, chi-square over the tokens expected at least five times."""
    model, prompt, n = random_model(scale=5.0), [3, 1, 4], 20_000
    sampling = SamplingParams(max_new_tokens=1, temperature=0.9, seed=11)
    drawn = torch.tensor(tokens(Engine(model, TOK, 4096).complete([prompt] * n, sampling)))[:, 0]
    with torch.no_grad():
        expected = (model(torch.tensor([prompt]))[0, -1] / 0.9).softmax(-1) * n
    counts, usual = torch.bincount(drawn, minlength=TOK.vocab_size), expected >= 5
    freedom = int(usual.sum()) - 1
    chi2 = float(((counts - expected) ** 2 / expected)[usual].sum())
    assert freedom > 20
    assert chi2 < freedom + 3.3 * (2 * freedom) ** 0.5


def test_each_position_has_a_draw_of_its_own() -> None:
    """A model that knows nothing draws evenly, and neighboring tokens do not follow each other (chi-square)."""
    model = random_model(scale=0.0)
    completions = Engine(model, TOK).complete([[1]] * 400, SamplingParams(50, 1.0, seed=2))
    pairs = [pair for t in tokens(completions) for pair in itertools.pairwise(t)]
    cells = torch.tensor([a // 27 * 10 + b // 27 for a, b in pairs])
    counts = torch.bincount(cells, minlength=100).double()
    assert len(pairs) > 10_000
    assert (
        float(((counts - counts.mean()) ** 2 / counts.mean()).sum()) < 149
    )  # 99 degrees of freedom, p = 0.001


def test_only_the_last_position_of_a_prompt_gets_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("the whole (B, T, V) was computed")

    monkeypatch.setattr(GPT2, "forward", forbidden)
    assert len(Engine(random_model(), TOK).complete(some_prompts(3), GREEDY)) == 3


# Against itself


def mixed_settings(n: int) -> list[SamplingParams]:
    rng = random.Random(5)
    return [
        SamplingParams(
            max_new_tokens=rng.randint(1, 30),
            temperature=rng.choice([0.0, 0.7, 1.0, 2.0]),
            top_k=rng.choice([0, 3, 50]),
            top_p=rng.choice([1.0, 0.8]),
            repetition_penalty=rng.choice([1.0, 1.3]),
            stop=rng.choice([(), ("e",), ("a", " t")]),
            seed=rng.choice([0, 1, -7, 2**80]),
        )
        for _ in range(n)
    ]


@pytest.mark.parametrize("max_rows", [1, 3, 16, 200])
def test_texts_do_not_depend_on_the_batch(max_rows: int) -> None:
    model, prompts, sampling = random_model(), some_prompts(60), mixed_settings(60)
    together = Engine(model, TOK, max_rows).complete(prompts, sampling)
    for i in range(0, 60, 7):
        [alone] = Engine(model, TOK).complete([prompts[i]], sampling[i], request_ids=[i])
        assert (alone.tokens, alone.text, alone.finish_reason) == (
            together[i].tokens,
            together[i].text,
            together[i].finish_reason,
        )
        assert alone.log_probs == pytest.approx(together[i].log_probs, abs=1e-4)
    reference = Engine(model, TOK, 64).complete(prompts, sampling)
    assert [c.tokens for c in together] == [c.tokens for c in reference]


def test_seeds_and_request_ids_name_the_text() -> None:
    engine, prompts = Engine(random_model(), TOK), [[5, 6, 7]] * 6
    first = tokens(engine.complete(prompts, WARM))
    assert first == tokens(engine.complete(prompts, WARM))
    assert len({tuple(t) for t in first}) == 6
    assert tokens(engine.complete(prompts, WARM, [0] * 6)) == [first[0]] * 6
    assert tokens(engine.complete(prompts[:2], WARM, [5, 3])) == [first[5], first[3]]
    assert not set(map(tuple, first)) & set(
        map(tuple, tokens(engine.complete(prompts, replace(WARM, seed=4))))
    )


@given(
    st.lists(st.integers(0, TOK.vocab_size - 1), min_size=1, max_size=30),
    st.integers(),
    st.sampled_from([(), ("e",), ("\ufffd", "th"), (" ", "\n")]),
)
@settings(max_examples=12)
def test_streaming_adds_up_to_the_text(prompt: list[int], seed: int, stop: tuple[str, ...]) -> None:
    sampling = replace(WARM, seed=seed, stop=stop, max_new_tokens=30)
    engine = Engine(STREAMED, TOK)
    pieces = list(engine.stream(prompt, sampling, request_id=4))
    [whole] = engine.complete([prompt], sampling, [4])
    assert "".join(pieces) == whole.text
    assert all(pieces)


STREAMED = random_model(7)


def test_a_request_can_be_cancelled_wherever_it_is() -> None:
    engine = Engine(random_model(), TOK)
    prompts = some_prompts(6)
    requests = engine.requests(prompts, WARM)
    rows = engine.rows(3)
    for request in requests:
        rows.submit(request)
    rows.step()
    for request in (requests[1], requests[5]):  # one runs, one waits
        rows.cancel(request)
    while rows.is_busy:
        rows.step()
    assert requests[1].finish_reason is None
    assert requests[5].finish_reason is None
    expected = engine.complete(prompts, WARM)
    assert [list(requests[i].tokens) for i in (0, 2, 3, 4)] == [expected[i].tokens for i in (0, 2, 3, 4)]


def test_requests_may_come_while_others_run() -> None:
    engine, prompts = Engine(random_model(), TOK), some_prompts(9)
    requests, rows = engine.requests(prompts, WARM), engine.rows(4)
    for request in requests:
        rows.submit(request)
        rows.step()
        rows.step()
    while rows.is_busy:
        rows.step()
    assert [engine.completion(r).tokens for r in requests] == tokens(engine.complete(prompts, WARM))


# Endings


def said(text: str, *after: int) -> list[int]:
    return [*TOK.encode(text), *after]


def test_end_of_text_ends_a_row_and_is_in_its_tokens() -> None:
    script = said("Yes. 😀", TOK.eot_id, *TOK.encode(" never said"))
    [completion] = Engine(scripted_model(script, TOK.vocab_size), TOK).complete([[9]], GREEDY)
    assert completion.tokens == said("Yes. 😀", TOK.eot_id)
    assert completion.text == "Yes. 😀"
    assert completion.finish_reason == "stop"


def test_the_repetition_penalty_spares_end_of_text() -> None:
    """A prompt begins with it; if that made it less likely, no answer would end."""
    model = random_model()
    with torch.no_grad():
        model.transformer.wte.weight[TOK.eot_id] = (
            model.transformer.ln_f.bias + model.hidden(torch.tensor([[0]]))[0, 0]
        )
    prompt = [TOK.eot_id]
    for penalty in (1.0, 1e6):
        [completion] = Engine(model, TOK).complete(
            [prompt], SamplingParams(5, 0.0, repetition_penalty=penalty)
        )
        assert completion.tokens == [TOK.eot_id]
    [other] = Engine(model, TOK).complete([[TOK.eot_id, 5]], SamplingParams(60, 0.0, repetition_penalty=1e6))
    assert len(set(other.tokens)) == len(other.tokens)
    assert 5 not in other.tokens


def test_max_new_tokens_and_the_context_end_a_text_for_length() -> None:
    model = scripted_model(said("abcdefghijklmnop"), TOK.vocab_size)
    [short] = Engine(model, TOK).complete([[9]], SamplingParams(3, 0.0))
    assert (short.text, short.finish_reason) == ("abc", "length")
    for prompt in ([9], [9] * 10, [9] * 15):
        [long] = Engine(model, TOK).complete([prompt], SamplingParams(100, 0.0))
        assert (len(prompt) + len(long.tokens), long.finish_reason) == (16, "length")
        assert list(Engine(model, TOK).stream(prompt, SamplingParams(100, 0.0))) == list(long.text)


def test_a_stop_string_over_several_tokens_cuts_the_text_and_keeps_the_tokens() -> None:
    script = said("one two\nQ: three", TOK.eot_id)
    engine = Engine(scripted_model(script, TOK.vocab_size), TOK)
    sampling = SamplingParams(100, 0.0, stop=("\nQ:", "never"))
    [completion] = engine.complete([[9]], sampling)
    assert (completion.text, completion.finish_reason) == ("one two", "stop")
    assert TOK.decode(completion.tokens) == "one two\nQ:"
    assert "".join(engine.stream([9], sampling)) == "one two"


def test_no_character_is_ever_broken_while_streaming() -> None:
    text = "naïve 😀👩‍👩‍👧 日本語 end"
    model = scripted_model(said(text, TOK.eot_id), TOK.vocab_size)
    pieces = list(Engine(model, TOK).stream([9], SamplingParams(100, 0.0)))
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    assert len(pieces) > 15


def test_padding_ids_of_a_larger_vocabulary_are_never_said() -> None:
    model = random_model(vocab_size=TOK.vocab_size + 50)
    completions = Engine(model, TOK).complete(some_prompts(20), SamplingParams(20, 3.0))
    assert max(max(t) for t in tokens(completions)) < TOK.vocab_size


# What cannot be


def test_no_prompts_give_no_completions() -> None:
    assert Engine(random_model(), TOK).complete([], WARM) == []


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ([], ["no tokens"]),
        ([1] * 64, ["64 tokens", "at most 63", "context is 64"]),
        ([1] * 1000, ["1000 tokens", "at most 63"]),
        ([1, 270], ["270", "269"]),
        ([-1], ["-1"]),
    ],
)
def test_prompts_that_cannot_be_are_refused_with_figures(prompt: list[int], words: list[str]) -> None:
    engine = Engine(random_model(), TOK)
    for attempt in (lambda: engine.complete([[1], prompt]), lambda: list(engine.stream(prompt))):
        with pytest.raises(ConfigError) as error:
            attempt()
        assert all(word in str(error.value) for word in words)


def test_engines_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_rows"):
        Engine(random_model(), TOK, max_rows=0)
    with pytest.raises(ConfigError, match="270 ids, the model 100"):
        Engine(random_model(vocab_size=100), TOK)
    with pytest.raises(ConfigError, match="2 prompts, 3 samplings"):
        Engine(random_model(), TOK).complete([[1], [2]], [GREEDY] * 3)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_that_left_the_finite_numbers_is_an_error(temperature: float) -> None:
    model = random_model()
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight[0, 0] = float("nan")
    with pytest.raises(DivergedError):
        Engine(model, TOK).complete([[1, 2]], SamplingParams(5, temperature))


# Living beside training


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_model_in_training_is_left_as_it_was(dtype: torch.dtype | None) -> None:
    """The mode stays, gradients can be taken afterwards (also inside autocast), new weights are seen."""
    model = random_model().train()
    engine, ids = Engine(model, TOK, dtype=dtype), torch.tensor([[1, 2, 3]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = tokens(engine.complete([[1, 2, 3]], GREEDY))
        list(engine.stream([1, 2, 3], WARM))
        model(ids).square().mean().backward()
    assert model.training
    assert not torch.is_inference_mode_enabled()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.init_weights(99)
    assert tokens(engine.complete([[1, 2, 3]], GREEDY)) != before


def test_bfloat16_says_nearly_the_same() -> None:
    model, prompts = random_model(scale=4.0), some_prompts(30)
    exact = Engine(model, TOK).complete(prompts, SamplingParams(1, 0.0))
    rough = Engine(model, TOK, dtype=torch.bfloat16).complete(prompts, SamplingParams(1, 0.0))
    assert sum(a.tokens == b.tokens for a, b in zip(exact, rough, strict=True)) >= 24
    error = [abs(a.log_probs[0] - b.log_probs[0]) for a, b in zip(exact, rough, strict=True)]
    assert 0 < max(error) < 0.3


def test_half_precision_weights_work_as_they_are() -> None:
    [completion] = Engine(random_model().bfloat16(), TOK).complete([[1, 2]], WARM)
    assert len(completion.log_probs) == len(completion.tokens) > 0


# The public function


def test_the_public_function_gives_the_engines_texts() -> None:
    from neogpt.inference.engine import Engine as same_room  # importing the room must not hide the function

    model, prompts = random_model(), ["the cat", "😀"]
    texts = list(neogpt.generate(model, TOK, prompts, max_new_tokens=9, temperature=1.0, seed=5, stop=["e"]))
    ids = [[TOK.eot_id, *TOK.encode(prompt)] for prompt in prompts]
    expected = same_room(model, TOK).complete(ids, SamplingParams(9, 1.0, stop=("e",), seed=5))
    assert texts == [c.text for c in expected]
    with pytest.raises(ConfigError):
        neogpt.generate(model, TOK, prompts, temperature=-1.0)


def test_equal_prompts_are_read_once_and_answered_as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups as reinforcement learning asks for them, shuffled, in fewer rows than requests."""
    model, rng = random_model(), random.Random(4)
    prompts = [prompt for prompt in some_prompts(5) for _ in range(6)]
    rng.shuffle(prompts)
    read: list[int] = []
    hidden = Inference.hidden

    def counted(self: Inference, tokens: torch.Tensor, cache: KVCache) -> torch.Tensor:
        if tokens.shape[1] > 1:
            read.append(len(tokens))
        return hidden(self, tokens, cache)

    alone = [Engine(model, TOK).complete([p], WARM, [i])[0] for i, p in enumerate(prompts)]
    monkeypatch.setattr(Inference, "hidden", counted)
    together = Engine(model, TOK, max_rows=len(prompts)).complete(prompts, WARM)
    assert read == [5]
    assert tokens(together) == tokens(alone)
    assert tokens(Engine(model, TOK, max_rows=7).complete(prompts, WARM)) == tokens(alone)
    for one, other in zip(together, alone, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
