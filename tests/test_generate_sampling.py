"""The choice of tokens against transformers' processors, closed forms and published test vectors."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from neogpt.errors import ConfigError
from neogpt.inference.sampler import RowSettings, draw, penalize, sample_tokens, truncate
from neogpt.inference.sampling_params import SamplingParams, stream_key, uniforms

V = 500


def logits_of(rows: int, seed: int = 0, spread: float = 3.0, width: int = V) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * spread


def half(rows: int) -> Tensor:
    return torch.full((rows,), 0.5, dtype=torch.float64)


@pytest.mark.parametrize(
    "bad",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": -1},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": math.nan},
        {"stop": ("",)},
        {"stop": "END"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        SamplingParams(**bad)
    assert next(iter(bad)) in str(error.value)
    assert error.value.exit_code == 2


# Random numbers


def test_uniforms_are_splitmix64() -> None:
    """The first five outputs for seed 1234567, as in the reference implementation by Sebastiano Vigna."""
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    numbers = uniforms([1234567] * 5, np.arange(5))
    assert numbers.tolist() == [(n >> 11) * 2.0**-53 for n in published]


def test_neighboring_requests_and_seeds_draw_independently() -> None:
    """Chi-square with 99 degrees of freedom; pairs of neighbors fill a 10 x 10 grid evenly."""
    for keys in (
        [stream_key(0, i) for i in range(20_000)],
        [stream_key(s, 0) for s in range(20_000)],
        [stream_key(-s, 2**40 + s) for s in range(20_000)],
    ):
        numbers = uniforms(keys, np.zeros(len(keys)))
        cells = (numbers[:-1] * 10).astype(int) * 10 + (numbers[1:] * 10).astype(int)
        counts = np.bincount(cells, minlength=100)
        assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 149  # p = 0.001
        assert 0 <= numbers.min() < 0.001
        assert 0.999 < numbers.max() < 1
    assert len({stream_key(s, i) for s in range(100) for i in range(100)}) == 10_000


# Truncation and penalty


def processed(logits_RV: Tensor, ids: Tensor | None = None, **options: float) -> Tensor:
    """The distribution that transformers would draw from."""
    from transformers.generation import logits_process as hf

    processors = hf.LogitsProcessorList()
    if "penalty" in options:
        processors.append(hf.RepetitionPenaltyLogitsProcessor(options["penalty"]))
    processors.append(hf.TemperatureLogitsWarper(options["temperature"]))
    if "top_k" in options:
        processors.append(hf.TopKLogitsWarper(int(options["top_k"])))
    if "top_p" in options:
        processors.append(hf.TopPLogitsWarper(options["top_p"]))
    ids = torch.zeros(len(logits_RV), 0, dtype=torch.int64) if ids is None else ids
    return processors(ids, logits_RV.clone()).softmax(-1)


def distribution(logits_RV: Tensor, sampling: list[SamplingParams], seen_RV: Tensor | None = None) -> Tensor:
    """The distribution that `sample_tokens` draws from, through its parts."""
    rows = RowSettings.of(sampling, logits_RV.shape[-1])
    if seen_RV is not None:
        logits_RV = penalize(logits_RV, seen_RV, rows.penalty_R1)
    weights_RV = truncate((logits_RV / rows.temperature_R1).softmax(-1), rows)
    return weights_RV / weights_RV.sum(-1, keepdim=True)


def test_rows_with_different_settings_each_follow_transformers() -> None:
    options: list[dict[str, Any]] = [
        {"temperature": 1.0},
        {"temperature": 0.3},
        {"temperature": 1.0, "top_k": 1},
        {"temperature": 1.0, "top_k": 40},
        {"temperature": 1.5, "top_p": 0.9},
        {"temperature": 0.7, "top_k": 40, "top_p": 0.9},
        {"temperature": 2.0, "top_k": 5, "top_p": 0.5},
        {"temperature": 1.0, "top_p": 1e-6},
        {"temperature": 1.0, "top_k": V + 10, "top_p": 0.999},
    ]
    logits = logits_of(len(options))
    ours = distribution(logits, [SamplingParams(**o) for o in options])
    for row, option in enumerate(options):
        theirs = processed(logits[row : row + 1], **option)[0]
        assert torch.equal(ours[row] > 0, theirs > 0), option
        torch.testing.assert_close(ours[row], theirs, rtol=1e-5, atol=1e-8)


def test_repetition_penalty_follows_transformers() -> None:
    logits, ids = logits_of(3), torch.randint(0, V, (3, 200), generator=torch.Generator().manual_seed(1))
    seen = torch.zeros(3, V, dtype=torch.bool).scatter(1, ids, True)
    for penalty, top_k in ((0.5, 50), (1.2, V), (3.0, V), (3.0, 50)):
        ours = distribution(logits, [SamplingParams(repetition_penalty=penalty, top_k=top_k)] * 3, seen)
        theirs = processed(logits, ids, penalty=penalty, temperature=0.8, top_k=top_k)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


def test_top_p_is_exact_when_the_nucleus_is_wider_than_the_guess() -> None:
    logits = torch.cat([logits_of(2, spread=0.1, width=3000), logits_of(2, spread=9.0, width=3000)])
    ours = distribution(logits, [SamplingParams(temperature=1.0, top_p=0.8)] * 4)
    theirs = processed(logits, temperature=1.0, top_p=0.8)
    assert int((ours[0] > 0).sum()) > 1000
    # Sums of 2,000 nearly equal float32 numbers: which is the last one in is a matter of rounding.
    assert int(((ours > 0) != (theirs > 0)).sum()) <= 4
    torch.testing.assert_close(ours[2:], theirs[2:], rtol=1e-4, atol=1e-8)


def test_tokens_as_likely_as_the_last_one_kept_stay() -> None:
    logits = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]])
    kept = distribution(logits, [SamplingParams(temperature=1.0, top_k=2)])[0] > 0
    assert kept.tolist() == [True, True, True, True, False]
    kept = distribution(logits, [SamplingParams(temperature=1.0, top_p=0.6)])[0] > 0
    assert kept.tolist() == [True, True, True, True, False]


# The draw


def test_frequencies_of_draws_match_the_softmax() -> None:
    """200,000 draws, chi-square against the exact probabilities (p = 0.001)."""
    logits, n = logits_of(1, spread=1.0, width=50), 200_000
    rows = RowSettings.of([SamplingParams(temperature=0.7)] * n, 50)
    numbers = torch.from_numpy(uniforms([stream_key(3, i) for i in range(n)], np.zeros(n)))
    tokens, _ = sample_tokens(logits.expand(n, -1), rows, numbers)
    expected = (logits[0].double() / 0.7).softmax(-1) * n
    counts = torch.bincount(tokens, minlength=50)
    assert float(((counts - expected) ** 2 / expected).sum()) < 85.4  # 49 degrees of freedom


def test_a_draw_never_lands_on_a_weight_of_zero() -> None:
    weights = torch.tensor([[0.0, 0.0, 1.0, 0.0, 2.0, 0.0]])
    for number in (0.0, 1e-300, 1 / 3, 0.5, 1 - 2**-53):
        token = int(draw(weights, torch.tensor([number], dtype=torch.float64)))
        assert token == (2 if number < 1 / 3 else 4)


def test_a_draw_is_where_the_running_sum_passes_the_number() -> None:
    weights = logits_of(200, width=97).exp()
    numbers = torch.rand(200, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    for row, token in enumerate(draw(weights, numbers).tolist()):
        wanted = float(numbers[row]) * math.fsum(weights[row].tolist())
        assert math.fsum(weights[row, :token].tolist()) <= wanted
        assert wanted < math.fsum(weights[row, : token + 1].tolist())


def test_temperature_zero_takes_the_likeliest_and_the_lowest_id_of_equals() -> None:
    logits = logits_of(4)
    logits[3, [7, 9]] = 100.0
    for sampling in (
        [SamplingParams(temperature=0.0)] * 4,
        [SamplingParams(temperature=0.0)] * 3 + [SamplingParams(top_k=1)],
    ):
        tokens, _ = sample_tokens(logits, RowSettings.of(sampling, V), half(4))
        assert tokens[:3].tolist() == logits[:3].argmax(-1).tolist()
    assert (
        int(sample_tokens(logits, RowSettings.of([SamplingParams(temperature=0.0)] * 4, V), half(4))[0][3])
        == 7
    )


def test_log_probabilities_are_the_models_at_the_temperature_before_everything_else() -> None:
    logits = logits_of(6)
    settings = [
        SamplingParams(temperature=1.0),
        SamplingParams(temperature=0.5),
        SamplingParams(temperature=2.0, top_k=3, top_p=0.5, repetition_penalty=1.5),
        SamplingParams(temperature=0.0),
        SamplingParams(temperature=1.0, top_p=0.9),
        SamplingParams(temperature=0.0, repetition_penalty=2.0),
    ]
    seen = torch.ones(6, V, dtype=torch.bool)
    tokens, log_p = sample_tokens(logits, RowSettings.of(settings, V), half(6), seen)
    for row, sampling in enumerate(settings):
        expected = (logits[row].double() / (sampling.temperature or 1.0)).log_softmax(-1)[tokens[row]]
        assert float(log_p[row]) == pytest.approx(float(expected), abs=2e-6)


def test_padding_of_the_vocabulary_is_never_chosen() -> None:
    logits = logits_of(64)
    logits[:, 400:] += 20
    for sampling in (
        SamplingParams(temperature=0.0),
        SamplingParams(temperature=5.0),
        SamplingParams(top_k=490, top_p=0.99),
    ):
        numbers = torch.linspace(0, 1 - 1e-9, 64, dtype=torch.float64)
        tokens, _ = sample_tokens(logits, RowSettings.of([sampling] * 64, 400), numbers, n_ids=400)
        assert int(tokens.max()) < 400


def test_the_coldest_and_the_hottest_temperatures_stay_finite() -> None:
    logits = logits_of(2, spread=100.0)
    for temperature in (5e-324, 1e-30, 1e30):
        tokens, log_p = sample_tokens(
            logits, RowSettings.of([SamplingParams(temperature=temperature)] * 2, V), half(2)
        )
        assert torch.isfinite(log_p).all()
        if temperature < 1:
            assert tokens.tolist() == logits.argmax(-1).tolist()


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_logits_that_are_not_finite_show_in_the_log_probability(poison: float) -> None:
    logits = logits_of(1)
    logits[0, 3] = poison
    for temperature in (0.0, 1.0):
        _, log_p = sample_tokens(
            logits, RowSettings.of([SamplingParams(temperature=temperature)], V), half(1)
        )
        assert log_p.isnan().all()


def test_settings_of_the_first_rows_choose_as_they_did_among_all() -> None:
    logits, seen = logits_of(6), torch.zeros(6, V, dtype=torch.bool)
    seen[:, :200] = True
    settings = [
        SamplingParams(temperature=1.0, repetition_penalty=1.5),
        SamplingParams(temperature=0.5, top_k=4),
        SamplingParams(temperature=0.0),
        SamplingParams(temperature=1.0),
        SamplingParams(temperature=2.0, top_p=0.5, repetition_penalty=1.5),
        SamplingParams(temperature=0.0, repetition_penalty=2.0),
    ]
    rows = RowSettings.of(settings, V)
    tokens, log_p = sample_tokens(logits, rows, half(6), seen)
    for n in range(1, 7):
        fewer, its_log_p = sample_tokens(logits[:n], rows.first(n), half(n), seen[:n])
        assert torch.equal(fewer, tokens[:n])
        assert torch.equal(its_log_p, log_p[:n])
