"""Preference optimization: the reference's cache, packing, what is refused, and losses by name."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from objectives_helpers import objective_of, scaled

from neogpt.config import BatchConfig, GPT2Config
from neogpt.errors import ConfigError, DataError
from neogpt.model import GPT2
from neogpt.model import log_probs as model_log_probs
from neogpt.objectives import dpo
from neogpt.objectives.batching import on_device
from neogpt.objectives.dpo import losses, reference_cache
from neogpt.objectives.dpo.objective import DPO, distances, dpo_terms
from neogpt.paths import cache_dir
from neogpt.records import Pair
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import Turn, encode_prompt
from neogpt.train import reduce
from neogpt.train.parallel.distributed import World

SHAPE = GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=96, vocab_size=400)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["Who is she and number 12345678? It is. Nobody. Response: Context:"] * 4, 400)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOGPT_HOME", str(tmp_path / "home"))


def network(scale: float = 3.0) -> GPT2:
    return scaled(SHAPE, 5, scale)


def pairs(n: int = 12) -> Iterator[Pair]:
    for i in range(n):
        yield Pair(f"Who is {'she and ' * (i % 3)}{i}?", "", f"It is {i}. " * (1 + i % 4), f"Nobody {i}.")


def objective(tokenizer: Tokenizer, patch: pytest.MonkeyPatch, items: Any = None, **options: Any) -> DPO:
    return objective_of(
        "dpo",
        dpo.Config(**{"max_tokens": 96, "val_fraction": 0.0, **options}),
        pairs() if items is None else items,
        tokenizer,
        patch,
        shape=SHAPE,
        batch=BatchConfig(size=4, micro_batches=2),
        steps=1,
        dtype="float32",
    )


def outcome(made: DPO, policy: GPT2, step: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Every loss term with all its gradients, and the metrics, of one micro-batch."""
    batch = on_device(made.batch(step, 1), CPU)
    terms = made.loss(policy, batch)
    found = {}
    for name, value in terms.loss_sum.items():
        gradients = torch.autograd.grad(value, list(policy.parameters()), retain_graph=True)
        found[name] = torch.cat([value.detach()[None], *(g.flatten() for g in gradients)])
    return found, {name: float(value) / weight for name, (value, weight) in terms.metrics.items()}


# --- packing, and the reference live or cached -------------------------------------------------------------


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "simpo"])
def test_packed_and_live_are_the_same_as_padded_and_cached(
    loss: str, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual: dict[str, Any] = {"loss": loss, "sft_coef": 0.2, "beta": 0.5}
    results = []
    for more in ({}, {"packing": True}, {"reference": "live"}, {"packing": True, "reference": "live"}):
        made = objective(tokenizer, monkeypatch, **usual, **more)
        made.begin(network())
        results.append(outcome(made, network(3.1)))
    (terms, metrics), *others = results
    for other_terms, other_metrics in others:
        assert other_metrics == pytest.approx(metrics, rel=1e-5, abs=1e-5)
        for (
            name,
            value,
        ) in terms.items():  # in float32, summed in other orders: packed rows are not of even lengths
            assert (other_terms[name] - value).norm() <= 5e-6 * value.norm()


def test_the_distance_is_none_at_the_reference_and_schulmans_away_from_it(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = objective(tokenizer, monkeypatch)
    made.begin(network())
    sides = ("kl/chosen", "kl/rejected")
    assert all(outcome(made, network())[1][side] == pytest.approx(0, abs=1e-6) for side in sides)
    batch, policy = on_device(made.batch(0, 1), CPU), network(3.3)
    found = outcome(made, policy)[1]
    n = len(batch.tokens) // 2
    for side, rows in zip(sides, (slice(n), slice(n, None)), strict=True):
        tokens, targets, weights = batch.tokens[rows], batch.targets[rows], batch.weights[rows]
        p, r = (
            model_log_probs(m, tokens, targets, weights)[weights > 0].detach().double()
            for m in (policy, network())
        )
        expected = ((p - r) ** 2 / 2).mean().item()
        assert expected > 0
        assert found[side] == pytest.approx(expected, rel=1e-4)


def test_near_the_reference_the_distance_is_the_divergence() -> None:
    """Over draws from a policy near its reference k2's mean is KL(policy || reference)."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(50, generator=generator, dtype=torch.float64)
    moved = logits + 0.1 * torch.randn(50, generator=generator, dtype=torch.float64)
    p, r = moved.log_softmax(0), logits.log_softmax(0)
    k2 = distances(p[None], r[None], torch.ones(1, 50))[0]
    assert (p.exp() * k2).sum().item() == pytest.approx((p.exp() * (p - r)).sum().item(), rel=0.05)


def test_the_distance_of_what_was_unlearned_is_a_number() -> None:
    """A rejected token that is e^300 times less likely than it was: exp would be infinite."""
    unlearned = torch.tensor([[-300.0, -1.0, 0.0]])
    distance = distances(unlearned, torch.tensor([[-0.5, -1.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    assert distance.flatten().tolist() == pytest.approx([299.5**2 / 2, 0, 0])


def test_simpo_never_asks_a_reference(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    made = objective(tokenizer, monkeypatch, loss="simpo")
    monkeypatch.setattr(reference_cache, "_compute", None)
    made.begin(network())
    _, metrics = outcome(made, network())
    assert not {"kl/chosen", "kl/rejected"} & metrics.keys()
    assert not cache_dir().exists()


def test_held_out_accuracies_are_told_by_kind(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the pairs themselves say, one by one; the first few held-out ones are of every kind, in any batching."""
    kinds = {"harm": "red-team", "help": "helpful", "none": ""}
    items = [
        Pair(f"Who is {name} {i}?", "", f"It is {i % 7}.", "Nobody.", kinds[name])
        for name in kinds
        for i in range(40)
    ]
    made = objective(tokenizer, monkeypatch, items, val_fraction=0.4)
    made.begin(network())
    policy, n = network(3.1), 24
    right: dict[str, list[bool]] = {kind: [] for kind in kinds.values()}
    for (chosen, rejected), kind in list(zip(made.held_out, made.kinds, strict=True))[:n]:
        gains = [_log_p(policy, row) - _log_p(network(), row) for row in (chosen, rejected)]
        right[kind].append(gains[0] > gains[1])
        assert ("harm" in tokenizer.decode(chosen[0])) == (kind == "red-team")
    assert all(len(found) >= 3 for found in right.values())
    chunks = [made.validation_batch(np.arange(i, i + 6)) for i in range(0, n, 6)]
    rows = [made.loss(policy, on_device(chunk, CPU)) for chunk in chunks]
    merged = reduce.merge_validation(
        rows, [made.loss_denominators(c) for c in chunks], made.coefficients, World()
    )
    found = {k.rpartition("/")[2]: v for k, v in merged.items() if k.startswith("val/rewards/accuracies/")}
    assert found == {kind: pytest.approx(sum(each) / len(each)) for kind, each in right.items() if kind}
    assert "rewards/accuracies/helpful" not in made.loss(policy, on_device(made.batch(0, 0), CPU)).metrics


def _log_p(model: GPT2, row: tuple[list[int], list[int]]) -> float:
    """log p of an answer after its prompt."""
    prompt, answer = row
    tokens = torch.tensor([[*prompt, *answer]])
    with torch.no_grad():
        logps = torch.log_softmax(model(tokens[:, :-1]), -1)
    return float(logps[0].gather(1, tokens[0, 1:, None])[-len(answer) :].sum())


# --- the cache ---------------------------------------------------------------------------------------------


def cached() -> list[Path]:
    return sorted((cache_dir() / "reference").iterdir())


def arrays(made: DPO) -> tuple[np.ndarray, np.ndarray]:
    assert made._references
    return made._references[0].sums, made._references[0].tokens


def test_the_reference_is_computed_once(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = objective(tokenizer, monkeypatch)
    first.begin(network())
    n_files = len(cached())
    with monkeypatch.context() as patch:
        patch.setattr(reference_cache, "_compute", None)  # would be called for anything that is not there
        second = objective(tokenizer, patch)
        second.begin(network())
    for ours, theirs in zip(arrays(first), arrays(second), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(cached()) == n_files
    other = network()
    with torch.no_grad():
        other.transformer.h[1].mlp.c_fc.bias[3] += 1e-3
    for model, items, precision in (
        (other, None, "float32"),
        (network(), list(pairs(11)), "float32"),
        (network(), None, "bfloat16"),
    ):
        made = objective(tokenizer, monkeypatch, items)
        made.run = dataclasses.replace(made.run, dtype=precision)
        made.begin(model)
        n_files += 1  # the held-out pairs are none, and the same, unless the model or precision is another
        assert len(cached()) >= n_files


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another"])
def test_a_damaged_cache_is_made_anew(
    damage: str, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = objective(tokenizer, monkeypatch)
    first.begin(network())
    for path in cached():
        raw = path.read_bytes()
        spoilt = {
            "cut": raw[: len(raw) // 2],
            "flipped": raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:],
            "empty": b"",
            "another": b"\x80\x04\x95 a pickle, which is never opened",
        }[damage]
        path.write_bytes(spoilt)
    again = objective(tokenizer, monkeypatch)
    again.begin(network())
    for ours, theirs in zip(arrays(first), arrays(again), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    before = [path.stat().st_mtime_ns for path in cached()]
    objective(tokenizer, monkeypatch).begin(network())
    assert [path.stat().st_mtime_ns for path in cached()] == before


# --- what is refused ---------------------------------------------------------------------------------------


def test_pairs_that_train_on_nothing_are_refused_and_counted_by_reason(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = "It is 1. " * 40
    items = [
        Pair("Who?", "", "It is.", "Nobody."),
        Pair("Who?", "", "It is.", " It is.\n"),
        Pair("Who?", "", "", "Nobody."),
        Pair("Who?", "", "It is.", " \n"),
        Pair("Who is she? " * 60, "", "It is.", "Nobody."),
        Pair("Who?", "", same + "a", same + "b"),
    ]
    notes = objective(tokenizer, monkeypatch, items).data_counts
    assert (notes["pairs"], notes["filtered"]) == (1, 5)
    reasons = {name.removeprefix("filtered, "): n for name, n in notes.items() if "," in name}
    assert reasons == {
        "equal answers": 1,
        "blank answer": 2,
        "prompt too long": 1,
        "equal answers after the cut": 1,
    }
    with pytest.raises(DataError, match="prompt too long 1"):
        objective(tokenizer, monkeypatch, items[4:5])


def test_answers_have_the_ids_that_the_model_would_write(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that begin with blank lines, which would melt into the prompt if both were one text."""
    items = [Pair("Who?", "", "\n\nIt is.", "\n \nNobody."), Pair("Who?", "", "- a\n- b", "\n- a")]
    rows = objective(tokenizer, monkeypatch, items).pairs
    prompt = encode_prompt(tokenizer, "Who?")
    for row, texts in zip(rows, [("It is.", "Nobody."), ("- a\n- b", "- a")], strict=True):
        written = [[*tokenizer.encode(text), tokenizer.eot_id] for text in texts]
        assert [(list(a), list(b)) for a, b in row] == [(prompt, answer) for answer in written]


def test_a_prompts_pairs_stay_on_one_side(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [Pair(f"Who is {i % 50}?", "", f"It is {k}.", "Nobody.") for i in range(50) for k in range(4)]
    items += [
        Pair(f"Who is {i}? ", "", "She.", "Nobody.") for i in range(50)
    ]  # the same prompts to the model
    made = objective(tokenizer, monkeypatch, items, val_fraction=0.3)
    train, test = ({tuple(chosen[0]) for chosen, _ in side} for side in (made.pairs, made.held_out))
    assert train
    assert test
    assert not train & test
    assert len(made.pairs) + len(made.held_out) + made.data_counts["also held out"] == 250


def test_dialogues_stand_before_both_answers_and_are_not_learned(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = Pair("Who is she?", "", "It is 2.", "Nobody.", "", (Turn("Who?", "", "It is 1."),))
    [(chosen, rejected)] = objective(tokenizer, monkeypatch, [item]).pairs
    assert chosen[0] == rejected[0]
    text = "Who?\nResponse:\nIt is 1.<|endoftext|>Who is she?\nResponse:\n"
    assert tokenizer.decode(chosen[0]) == f"<|endoftext|>{text}"
    assert tokenizer.decode(chosen[1]) == "It is 2.<|endoftext|>"


# --- losses by name ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "sigmoidd"}, "did you mean sigmoid"),
        ({"loss": "ipo", "label_smoothing": 0.1}, "ipo has no label smoothing"),
        ({"label_smoothing": 0.5}, "label_smoothing is 0.5"),
        ({"beta": 0.0}, "beta is 0.0"),
        ({"beta": math.nan}, "beta is nan"),
    ],
)
def test_settings_that_make_no_loss(
    options: dict[str, Any], message: str, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=message):
        objective(tokenizer, monkeypatch, **options)


def test_a_further_loss_is_one_function(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "LOSSES", dict(losses.LOSSES))

    @losses.loss()
    def squared(margin_N: torch.Tensor, options: Any) -> torch.Tensor:
        return margin_N.square()

    terms, metrics = dpo_terms(
        torch.tensor([-1.0, -2.0]),
        torch.tensor([-3.0, -1.0]),
        torch.zeros(2, 2),
        dpo.Config(loss="squared", beta=0.5),
    )
    assert terms["dpo"].item() == pytest.approx(1.0 + 0.25)
    assert metrics["rewards/accuracies"].tolist() == [1, 0]
