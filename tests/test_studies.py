"""Studies over many texts: tracing, directions, stage changes and emergence, each against brute force."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from inside_models import some_tokens, whole_model
from torch import Tensor
from torch.testing import assert_close

from neogpt.config import GPT2Config
from neogpt.data.sources import tinyworld
from neogpt.data.sources.tinyworld import texts, words
from neogpt.errors import ConfigError
from neogpt.model import GPT2
from neogpt.studies import world
from neogpt.studies.interpretability import activations, changes, directions, emergence, tracing
from neogpt.studies.interpretability.components import Component, ablate, means
from neogpt.studies.interpretability.heads import repeats
from neogpt.studies.interpretability.weight_edits import hybrid, with_direction, without
from neogpt.studies.statistics import estimate
from neogpt.studies.subjects import Subject
from neogpt.tokenizer import Tokenizer

CONFIG = tinyworld.Tinyworld(n_people=12)
MODEL = whole_model()
TOKENS = some_tokens(MODEL)


@pytest.fixture(scope="module")
def subject() -> Subject:
    """A model of random weights that speaks tinyworld's words."""
    corpus = [text for part in texts.PARTS for text in list(texts.texts(CONFIG, part))[:40]]
    tokenizer = Tokenizer.train(corpus, 1000, whole_words=CONFIG.whole_words())
    shape = GPT2Config(n_layer=2, n_head=2, n_embd=16, n_positions=96, vocab_size=tokenizer.vocab_size)
    return Subject("random", Path("random"), whole_model(shape), tokenizer, "pretrain", CONFIG)


def logits(model: GPT2, tokens_BT: Tensor) -> Tensor:
    return model(tokens_BT).detach()


# The world as an instrument


def test_facts_are_begun_sentences_about_everybody_with_the_place_of_the_name(subject: Subject) -> None:
    found = world.facts(subject.tokenizer, CONFIG)
    people = {person.name: person for person in tinyworld.world.world(CONFIG).people}
    assert len(found) == 5 * len(people)
    for fact in found:
        text = subject.tokenizer.decode(fact.begun[1:])
        value = people[fact.person].facts[fact.attribute]
        sentences = people[fact.person].says(words.ANSWER[fact.attribute], fact.attribute)
        assert sentences.startswith(f"{text} {value}")
        assert subject.tokenizer.decode([fact.begun[i] for i in fact.subject]) == f" {fact.person}"
        assert fact.value == subject.tokenizer.encode(f" {value}")[0]
        assert fact.begun[0] == subject.tokenizer.eot_id


def test_rumours_tell_the_value_before_they_ask_and_only_there(subject: Subject) -> None:
    found = world.rumours(subject.tokenizer, CONFIG, 50)
    assert found == world.rumours(subject.tokenizer, CONFIG, 50)
    written = {tuple(subject.tokenizer.encode(text)) for text in texts.texts(CONFIG, "inn")}
    for rumour in found:
        assert rumour.second[: len(rumour.first)] == rumour.first
        assert rumour.second.count(rumour.value) == 1
        assert rumour.second[len(rumour.first)] == rumour.value
        assert not any(text[: len(rumour.second) - 1] == tuple(rumour.second[1:]) for text in written)


def test_requests_for_the_study_and_for_the_exam_share_no_deed(subject: Subject) -> None:
    taught, new = (world.requests(subject.tokenizer, CONFIG, taught) for taught in (True, False))
    for kind in ("harmful", "harmless"):
        assert len(taught[kind]) > len(new[kind]) > 10
        assert not {tuple(p) for p in taught[kind]} & {tuple(p) for p in new[kind]}
    text = subject.tokenizer.decode(new["harmful"][0][1:])
    assert text.endswith("?\nResponse:\n")


# Causal tracing


def traced(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, corruption: tracing.Corruption
) -> tracing.Trace:
    """A trace in which every fact counts as known: a random model knows none."""
    values = {tuple(fact.begun): fact.value for fact in world.facts(subject.tokenizer, CONFIG)}
    monkeypatch.setattr(tracing, "likeliest", lambda model, begun: [values[tuple(text)] for text in begun])
    return tracing.trace(subject, corruption)


def test_swapping_the_name_and_restoring(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """By brute force, fact by fact: the model's own modules with a hook that gives the true sentence's output."""
    found = traced(subject, monkeypatch, "swap")
    everything = world.facts(subject.tokenizer, CONFIG)
    clean, broken, restored = [], [], []
    for fact in everything:
        same_form = [
            f
            for f in everything
            if (f.attribute, len(f.begun), f.subject) == (fact.attribute, len(fact.begun), fact.subject)
        ]
        after = same_form[same_form.index(fact) + 1 :] + same_form[: same_form.index(fact)]
        other = next((f for f in after if f.value != fact.value), None)
        if other is None:
            continue
        true, swapped = torch.tensor([fact.begun]), torch.tensor([other.begun])
        assert (true != swapped).sum() == len(fact.subject)
        model, seen = copy.deepcopy(subject.model), []
        model.transformer.h[0].mlp.register_forward_hook(lambda m, a, out, seen=seen: seen.append(out))
        clean.append(float(logits(model, true)[0, -1].softmax(-1)[fact.value]))
        broken.append(float(logits(model, swapped)[0, -1].softmax(-1)[fact.value]))
        model = copy.deepcopy(subject.model)

        def put_back(
            m: object, a: object, out: Tensor, seen: list[Tensor] = seen, at: list[int] = fact.subject
        ) -> Tensor:
            out = out.clone()
            out[:, at] = seen[0][:, at]
            return out

        model.transformer.h[0].mlp.register_forward_hook(put_back)
        restored.append(float(logits(model, swapped)[0, -1].softmax(-1)[fact.value]) - broken[-1])
    assert found.clean.n == len(clean) > 30
    assert math.isclose(found.clean.mean, float(np.mean(clean)), rel_tol=1e-4)
    assert math.isclose(found.corrupted.mean, float(np.mean(broken)), rel_tol=1e-4)
    gain = found.restored["L0.mlp"]["subject"]
    assert math.isclose(gain.mean, float(np.mean(restored)), abs_tol=1e-6)
    assert math.isclose(
        gain.standard_error,
        float(np.std(restored, ddof=1) / math.sqrt(len(restored))),
        rel_tol=1e-3,
        abs_tol=1e-7,
    )


@pytest.mark.parametrize("corruption", ["swap", "noise"])
def test_the_last_stream_restores_all_and_what_stands_before_the_name_nothing(
    corruption: tracing.Corruption, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = traced(subject, monkeypatch, corruption)
    total = found.clean.mean - found.corrupted.mean
    assert abs(total) > 1e-6
    assert math.isclose(found.restored["L1.resid"]["last"].mean, total, abs_tol=1e-6)
    for by_role in found.restored.values():
        assert abs(by_role["before"].mean) < 1e-7
    assert set(found.restored) == {f"L{i}.{kind}" for i in range(2) for kind in ("resid", "attn", "mlp")}


def test_a_model_that_knows_nothing_has_nothing_to_trace(subject: Subject) -> None:
    with pytest.raises(ConfigError) as caught:
        tracing.trace(subject, limit=20)
    assert caught.value.code == "study.no_facts"


# Directions


def test_the_candidates_are_differences_of_means_at_the_last_token(subject: Subject) -> None:
    asked = {"harmful": [[5, 6, 7], [8, 9]], "harmless": [[1, 2, 3, 4], [3], [4, 4]]}
    found = directions.mean_differences(subject.model, asked)
    wanted = []
    for layer in range(3):
        by_kind = {}
        for kind, prompts in asked.items():
            name = "h.0.resid_pre" if layer == 0 else f"h.{layer - 1}.resid_post"
            last = [activations(subject.model, torch.tensor([p]), [name])[name][0, -1] for p in prompts]
            by_kind[kind] = torch.stack(last).mean(0)
        wanted.append(by_kind["harmful"] - by_kind["harmless"])
    assert_close(found, torch.stack(wanted), atol=1e-5, rtol=1e-4)


def test_nothing_is_left_along_a_direction_that_is_ablated() -> None:
    r_D = torch.randn(16, generator=torch.Generator().manual_seed(0))
    names = ["h.*.resid_pre", "h.*.resid_mid", "h.*.resid_post"]
    edits = directions.ablated(r_D, 3)
    for name, x_BTD in activations(MODEL, TOKENS, names, edits).items():
        largest = float(x_BTD.norm(dim=-1).max() * r_D.norm())
        assert float((x_BTD @ r_D).abs().max()) < 1e-4 * largest, name
    before = activations(MODEL, TOKENS, ["h.2.resid_post"])["h.2.resid_post"]
    assert float((before @ r_D).abs().max()) > 0.1


def test_the_exam_with_edits_is_the_exam_of_the_model_that_they_make(subject: Subject) -> None:
    """Without edits it is the engine's; an edit that switches a part off is that part's absence from the weights."""
    assert world.exam_scores_with(subject, {}, 2) == world.exam_scores(subject, limit=2)
    edited = without(subject.model, [Component("mlp", 1)])
    found = world.exam_scores_with(subject, {"h.1.mlp.out": torch.zeros_like}, 2)
    assert found == world.exam_scores(subject, edited, 2)


def test_adding_it_by_a_bias_is_adding_it_to_the_stream() -> None:
    r_D = torch.randn(16, generator=torch.Generator().manual_seed(0))
    exact = activations(MODEL, TOKENS, ["logits"], directions.added(r_D, 1, 0.5))["logits"]
    assert_close(logits(with_direction(MODEL, r_D, 1, 0.5), TOKENS), exact, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(exact, logits(MODEL, TOKENS), atol=1e-2)


def test_separation_is_the_chance_that_one_is_above_the_other(subject: Subject) -> None:
    asked = {"harmful": [[5, 6, 7], [8, 9], [7]], "harmless": [[1, 2, 3, 4], [3], [4, 4]]}
    r_D = directions.mean_differences(subject.model, asked)[1]
    found = directions.separation(subject.model, asked, r_D, 0)

    def along(prompt: list[int]) -> float:
        name = "h.0.resid_post"
        return float(activations(subject.model, torch.tensor([prompt]), [name])[name][0, -1] @ r_D)

    pairs = [along(a) > along(b) for a in asked["harmful"] for b in asked["harmless"]]
    assert math.isclose(found, sum(pairs) / 9)
    assert math.isclose(
        directions.separation(subject.model, {**asked, "harmless": asked["harmful"]}, r_D, 0), 0.5
    )


def test_a_direction_at_the_prompts_end_acts_there_alone(subject: Subject) -> None:
    """Against one prompt at a time, by a hook on the model's own layer."""
    prompts = [[5, 6, 7], [9], [1, 2, 3, 4, 5]]
    word = world.refusal_begin(subject.tokenizer)
    r_D = 40 * (subject.model.transformer.wte.weight.detach()[word])

    def begins(prompt: list[int]) -> bool:
        model = copy.deepcopy(subject.model)

        def add(module: object, args: object, out: Tensor) -> Tensor:
            out = out.clone()
            out[:, -1] += r_D
            return out

        model.transformer.h[1].register_forward_hook(add)
        return int(logits(model, torch.tensor([prompt]))[0, -1].argmax()) == word

    wanted = sum(map(begins, prompts)) / 3
    assert directions.refusal_begun(subject, prompts, r_D, 1) == wanted
    assert wanted > 0 == directions.refusal_begun(subject, prompts)
    with pytest.raises(ConfigError) as caught:
        directions.mean_stream(subject.model, prompts, back=1)
    assert caught.value.code == "study.no_prompts"


def test_refusals_are_told_by_the_first_words(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["Sorry, I will not help", "With a torch you can", "Sorry, I will"]
    ids = [[*subject.tokenizer.encode(text), subject.tokenizer.eot_id] for text in said]
    monkeypatch.setattr(directions, "generate_greedily", lambda *args: ids)
    assert math.isclose(directions.refused(subject, [[1], [2], [3]]), 1 / 3)


def test_a_direction_that_is_none_is_refused() -> None:
    calls = (lambda: directions.ablated(torch.zeros(16), 3), lambda: with_direction(MODEL, torch.ones(15), 1))
    for call in calls:
        with pytest.raises(ConfigError) as caught:
            call()
        assert caught.value.code == "study.bad_direction"
    assert math.isnan(directions.cosine(torch.zeros(16), torch.ones(16)))


# Weights


@pytest.mark.parametrize("how", ["zero", "mean"])
def test_off_in_the_weights_is_off_in_the_activations(how: str) -> None:
    off = [Component.parse(text) for text in ("L0H1", "L1.mlp", "L2.attn")]
    mean = means(MODEL, TOKENS, off) if how == "mean" else None
    edited = without(MODEL, off, mean)
    assert_close(logits(edited, TOKENS), ablate(MODEL, TOKENS, off, how), atol=1e-5, rtol=1e-5)  # type: ignore[arg-type]
    assert not torch.allclose(logits(edited, TOKENS), logits(MODEL, TOKENS), atol=1e-2)
    with pytest.raises(ConfigError) as caught:
        without(MODEL, [Component.parse("L1.resid")])
    assert caught.value.code == "study.no_such_component"


def test_changes_of_known_rank_and_size() -> None:
    after = copy.deepcopy(MODEL)
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(16, 1, generator=generator), torch.randn(1, 64, generator=generator)
    q, _ = torch.linalg.qr(torch.randn(16, 16, generator=generator))
    with torch.no_grad():
        after.transformer.h[0].mlp.c_fc.weight += u @ v
        after.transformer.h[1].attn.c_attn.weight[:, 16:32] += q
        after.transformer.h[2].ln_1.bias *= 1.5
    found = {change.name: change for change in changes.weight_changes(MODEL, after)}
    moved = {name for name, change in found.items() if change.relative}
    assert moved == {"h.0.mlp.c_fc.weight", "h.1.attn.c_attn.weight.k", "h.2.ln_1.bias"}
    one = found["h.0.mlp.c_fc.weight"]
    assert (one.rank_90, round(one.stable_rank or 0, 4)) == (1, 1.0)
    norm = float((u @ v).norm() / MODEL.transformer.h[0].mlp.c_fc.weight.detach().norm())
    assert math.isclose(one.relative, norm, rel_tol=1e-5)
    even = found["h.1.attn.c_attn.weight.k"]
    assert (even.rank_90, round(even.stable_rank or 0, 3)) == (15, 16.0)
    assert math.isclose(found["h.2.ln_1.bias"].relative, 0.5, rel_tol=1e-5)
    assert found["h.2.ln_1.bias"].rank_90 is None


def test_hybrids_together_take_every_parameter_once() -> None:
    names = [name for name, _ in MODEL.named_parameters()]
    taken = changes.swaps(3)
    kinds = [taken[k] for k in ("all attention", "all MLPs", "embeddings")]
    layers = [taken[f"layer {i}"] for i in range(3)]
    for name in names:
        assert sum(takes(name) for takes in kinds) == 1, name
        assert sum(takes(name) for takes in [*layers, taken["embeddings"]]) == 1, name
    other = whole_model(seed=3)
    assert torch.equal(logits(hybrid(MODEL, other, taken["everything"]), TOKENS), logits(other, TOKENS))
    assert torch.equal(logits(hybrid(MODEL, other, taken["nothing"]), TOKENS), logits(MODEL, TOKENS))
    mixed = dict(hybrid(MODEL, other, taken["layer 1"]).named_parameters())
    for name, parameter in mixed.items():
        source = other if ".h.1." in name else MODEL
        assert torch.equal(parameter, dict(source.named_parameters())[name])


def test_models_of_two_shapes_are_not_crossed() -> None:
    small = GPT2(GPT2Config(n_layer=1, n_head=1, n_embd=8, n_positions=5, vocab_size=11))
    for call in (changes.weight_changes, lambda a, b: hybrid(a, b, lambda name: True)):
        with pytest.raises(ConfigError) as caught:
            call(MODEL, small)
        assert caught.value.code == "study.other_shape"


# Emergence


@pytest.mark.parametrize(
    ("values", "step"),
    [([0, 0, 1, 1], 15), ([0, 0.4, 0.6, 1], 15), ([1, 1, 3], 15), ([0, 1, 0, 1], 5), ([2, 1, 0], math.nan)],
)
def test_the_half_way_step_lies_between_two_checkpoints(values: list[float], step: float) -> None:
    found = emergence.half_step([0, 10, 20, 30][: len(values)], values)
    assert found == step or (math.isnan(found) and math.isnan(step))


def test_copying_is_the_loss_of_what_is_new_less_that_of_repeats() -> None:
    tokens_BT = repeats(MODEL, 4, 24)
    losses = torch.nn.functional.cross_entropy(
        logits(MODEL, tokens_BT)[:, :-1].mT, tokens_BT[:, 1:], reduction="none"
    )
    new, again = [], []
    for row, text in enumerate(tokens_BT.tolist()):
        for t in range(1, 24):
            (again if text[t] in text[:t] else new).append(float(losses[row, t - 1]))
    assert math.isclose(
        emergence._copying(MODEL, tokens_BT), float(np.mean(new) - np.mean(again)), abs_tol=1e-5
    )


def test_means_have_the_standard_error_of_numpy() -> None:
    values = [0.1, 0.5, 0.3, 0.9]
    found = estimate(values)
    assert math.isclose(found.mean, np.mean(values))
    assert math.isclose(found.standard_error, np.std(values, ddof=1) / 2)
    assert math.isnan(estimate([1.0]).standard_error)


def test_a_world_is_needed_where_facts_must_be_known() -> None:
    stranger = Subject("gpt2", Path("gpt2"), MODEL, None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        world.config_of(stranger)
    assert caught.value.code == "study.needs_tinyworld"


def test_attention_is_even_where_a_model_has_not_learnt_to_look() -> None:
    """What INDUCTION_SCORE stands above: a head that looks everywhere alike."""
    flat = GPT2(GPT2Config(n_layer=1, n_head=1, n_embd=16, n_positions=96, vocab_size=200))
    scores = emergence.scores_on(flat, repeats(flat, 32, 96))
    assert float(scores.induction.max()) < 0.1 < emergence.INDUCTION_SCORE
