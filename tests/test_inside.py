"""Looking inside: the written-out pass is the model; lens, attribution, ablation and patching by brute force."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from inside_models import SMALL, some_tokens, whole_model
from torch import Tensor
from torch.testing import assert_close

from neogpt.config import GPT2Config
from neogpt.errors import ConfigError
from neogpt.model import GPT2, save_pretrained
from neogpt.studies.interpretability import (
    Component,
    ablate,
    activations,
    attention,
    direct_logit_attribution,
    generate_greedily,
    gradient_x_input,
    head_scores,
    lens_readings,
    logit_lens,
    look_into_generation,
    patch,
    scores_on,
)
from neogpt.studies.interpretability.activations import IN_LAYER, OUTSIDE
from neogpt.studies.interpretability.components import means
from neogpt.studies.interpretability.heads import in_context_score, next_token_losses, repeats
from neogpt.studies.interpretability.lens import decision_depth

MODEL = whole_model()
TOKENS = some_tokens(MODEL)
SIZES = [
    SMALL,
    GPT2Config(n_layer=1, n_head=1, n_embd=8, n_positions=12, vocab_size=11),
    GPT2Config(n_layer=4, n_head=4, n_embd=128, n_positions=96, vocab_size=1055),
]


def logits(model: GPT2, tokens_BT: Tensor = TOKENS) -> Tensor:
    return model(tokens_BT).detach()


# The pass


@pytest.mark.parametrize("config", SIZES, ids=lambda c: f"{c.n_layer}x{c.n_embd}")
def test_the_written_out_pass_is_the_model(config: GPT2Config) -> None:
    model = whole_model(config, scale=1.0)
    tokens_BT = some_tokens(model)
    found = activations(model, tokens_BT, ["logits"])["logits"]
    assert_close(found, logits(model, tokens_BT), atol=1e-5, rtol=1e-5)
    exact = activations(model.double(), tokens_BT, ["logits"])["logits"]
    assert_close(exact, logits(model, tokens_BT), atol=1e-12, rtol=1e-12)


def test_activations_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import GPT2LMHeadModel

    save_pretrained(MODEL, tmp_path)
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path, attn_implementation="eager")
    with torch.no_grad():
        wanted = theirs(TOKENS, output_hidden_states=True, output_attentions=True)
    assert_close(attention(MODEL, TOKENS), torch.stack(wanted.attentions), atol=1e-6, rtol=1e-5)
    names = ["h.*.resid_pre", "h.2.resid_post", "ln_f", "logits"]
    kept = activations(MODEL, TOKENS, names)
    for i in range(3):
        assert_close(kept[f"h.{i}.resid_pre"], wanted.hidden_states[i], atol=1e-5, rtol=1e-5)
    assert_close(kept["ln_f"], wanted.hidden_states[3], atol=1e-5, rtol=1e-5)
    assert_close(kept["logits"], wanted.logits, atol=1e-5, rtol=1e-5)


def test_every_place_has_the_shape_that_the_page_says() -> None:
    (B, T), c = TOKENS.shape, MODEL.config
    kept = activations(MODEL, TOKENS, [*OUTSIDE, *(f"h.*.{place}" for place in IN_LAYER)])
    assert len(kept) == len(OUTSIDE) + c.n_layer * len(IN_LAYER)
    K = c.n_embd // c.n_head
    shapes = {"logits": (B, T, c.vocab_size), "ln_f.scale": (B, T, 1)}
    shapes |= dict.fromkeys(("attn.q", "attn.k", "attn.v", "attn.z"), (B, c.n_head, T, K))
    shapes |= dict.fromkeys(("attn.scores", "attn.pattern"), (B, c.n_head, T, T))
    shapes |= {"attn.result": (B, c.n_head, T, c.n_embd)}
    shapes |= dict.fromkeys(("mlp.pre", "mlp.post"), (B, T, 4 * c.n_embd))
    for name, value in kept.items():
        place = name.split(".", 2)[2] if name.startswith("h.") else name
        assert value.shape == shapes.get(place, (B, T, c.n_embd)), name
    assert_close(kept["h.1.attn.pattern"].sum(-1), torch.ones(B, c.n_head, T))
    assert not kept["h.1.attn.pattern"].triu(1).any()
    assert kept["h.1.attn.scores"].triu(1).isneginf().sum() == B * c.n_head * T * (T - 1) / 2
    bias = MODEL.transformer.h[1].attn.c_proj.bias.detach()
    assert_close(kept["h.1.attn.result"].sum(1) + bias, kept["h.1.attn.out"], atol=1e-5, rtol=1e-5)


def test_only_what_is_asked_for_is_kept_and_without_gradients() -> None:
    kept = activations(MODEL, TOKENS, ["h.1.mlp.post"])
    assert list(kept) == ["h.1.mlp.post"]
    assert not kept["h.1.mlp.post"].requires_grad
    assert activations(MODEL, TOKENS, ["logits"], gradients=True)["logits"].requires_grad


def test_an_edit_acts_on_all_that_follows_and_on_nothing_before() -> None:
    names = ["h.*.resid_mid", "logits"]
    before = activations(MODEL, TOKENS, names)
    after = activations(MODEL, TOKENS, names, {"h.1.attn.pattern": lambda x: torch.ones_like(x).tril()})
    assert torch.equal(after["h.0.resid_mid"], before["h.0.resid_mid"])
    assert not torch.allclose(after["h.1.resid_mid"], before["h.1.resid_mid"])
    assert not torch.allclose(after["logits"], before["logits"])
    same = activations(MODEL, TOKENS, names, {"h.1.attn.result": lambda x: x.clone()})
    assert_close(same["logits"], before["logits"], atol=1e-5, rtol=1e-5)


def test_memory_is_that_of_what_was_asked_for() -> None:
    """Of attention's tables a layer's scores and pattern are alive, not those of all layers."""
    import gc

    model = whole_model(GPT2Config(n_layer=8, n_head=4, n_embd=32, n_positions=128, vocab_size=64))
    tokens_BT = some_tokens(model, B=2, T=128)
    gc.collect()
    alive: list[int] = []

    def count(x: Tensor) -> Tensor:
        shape = tuple(x.shape)
        alive.append(sum(1 for o in gc.get_objects() if type(o) is Tensor and tuple(o.shape) == shape))
        return x

    activations(model, tokens_BT, ["logits"], {"h.7.attn.pattern": count})
    assert alive in ([1], [2])


# Lens


def test_the_lens_ends_in_the_models_own_logits_and_is_layer_norm_and_head_before() -> None:
    found = logit_lens(MODEL, TOKENS)
    assert found.shape == (4, *TOKENS.shape, 53)
    assert_close(found[-1], logits(MODEL), atol=1e-5, rtol=1e-5)
    t = MODEL.transformer
    x_BTD = t.wte(TOKENS) + t.wpe.weight[: TOKENS.shape[1]]
    for i in range(3):
        assert_close(found[i], (t.ln_f(x_BTD) @ t.wte.weight.T).detach(), atol=1e-5, rtol=1e-5)
        x_BTD = t.h[i](x_BTD, None)


def test_what_is_read_off_the_lens_is_its_softmax() -> None:
    targets_BT = some_tokens(MODEL, seed=5)
    found = lens_readings(MODEL, TOKENS, targets_BT, n_top=3)
    probs = logit_lens(MODEL, TOKENS).softmax(-1)
    order = probs.argsort(-1, descending=True)
    assert torch.equal(found.top_ids, order[..., :3])
    assert_close(found.top_probs, probs.sort(-1, descending=True).values[..., :3])
    ranks = (order == targets_BT[None, ..., None]).float().argmax(-1)
    assert torch.equal(found.target_ranks, ranks)
    wanted = torch.stack([p.gather(-1, targets_BT[..., None])[..., 0] for p in probs])
    assert_close(found.target_probs, wanted)


@pytest.mark.parametrize(
    ("ranks", "depth"), [([0, 0, 0], 0), ([4, 0, 0], 1), ([0, 2, 0], 2), ([0, 0, 1], 3), ([7, 3, 1], 3)]
)
def test_the_depth_of_decision_is_the_layer_after_which_nothing_changes(ranks: list[int], depth: int) -> None:
    assert decision_depth(torch.tensor(ranks)) == depth


# Attribution


@pytest.mark.parametrize("position", [-1, 4, torch.tensor([3, 10])], ids=str)
def test_attribution_sums_to_the_logit(position: int | Tensor) -> None:
    targets, against = torch.tensor([5, 7]), torch.tensor([1, 2])
    at = position if isinstance(position, Tensor) else torch.tensor([position, position])
    rows = torch.arange(2)
    wanted = logits(MODEL)[rows, at]
    whole = direct_logit_attribution(MODEL, TOKENS, targets, position)
    assert_close(whole.total, wanted[rows, targets], atol=1e-4, rtol=1e-4)
    assert math.isclose(sum(whole.by_name(1).values()), float(whole.total[1]), abs_tol=1e-4)
    difference = direct_logit_attribution(MODEL, TOKENS, targets, position, against)
    assert_close(difference.total, wanted[rows, targets] - wanted[rows, against], atol=1e-4, rtol=1e-4)


def test_each_part_is_what_the_logit_loses_without_it_while_the_divisor_is_held() -> None:
    """By brute force: take the part from the last residual stream, and use the old mean square in LayerNorm."""
    targets = torch.tensor([5, 7])
    found = direct_logit_attribution(MODEL, TOKENS, targets)
    names = ["h.2.resid_post", "h.1.attn.result", "h.0.mlp.out", "embed", "pos_embed", "ln_f.scale"]
    kept = {name: x.double() for name, x in activations(MODEL, TOKENS, names).items()}
    norm, head = MODEL.transformer.ln_f, MODEL.transformer.wte.weight.detach().double()[targets]

    def logit(x_BD: Tensor) -> Tensor:
        centred = x_BD - x_BD.mean(-1, keepdim=True)
        normed = centred / kept["ln_f.scale"][:, -1] * norm.weight.detach() + norm.bias.detach()
        return (normed * head).sum(-1)

    stream = kept["h.2.resid_post"][:, -1]
    parts = {
        "head": (kept["h.1.attn.result"][:, 1, -1], found.heads[1, 1]),
        "mlp": (kept["h.0.mlp.out"][:, -1], found.mlps[0]),
        "embed": (kept["embed"][:, -1], found.embed),
        "position": (kept["pos_embed"][:, -1], found.pos_embed),
        "bias": (MODEL.transformer.h[2].attn.c_proj.bias.detach().double(), found.attention_bias[2]),
    }
    for name, (part, value) in parts.items():
        assert_close((logit(stream) - logit(stream - part)).float(), value, atol=1e-4, rtol=1e-4, msg=name)


def test_gradient_x_input_is_transformers() -> None:
    from transformers import GPT2Config as TheirConfig
    from transformers import GPT2LMHeadModel

    c = MODEL.config
    theirs = GPT2LMHeadModel(
        TheirConfig(
            vocab_size=c.vocab_size, n_positions=c.n_positions, n_embd=c.n_embd, n_layer=c.n_layer, n_head=c.n_head,
            resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=0,
        )
    ).eval()  # fmt: skip
    theirs.load_state_dict(MODEL.state_dict(), strict=False)
    targets, against = torch.tensor([5, 7]), torch.tensor([1, 2])
    embedded = theirs.transformer.wte(TOKENS).detach().requires_grad_()
    last = theirs(inputs_embeds=embedded).logits[:, -1]
    (last[torch.arange(2), targets] - last[torch.arange(2), against]).sum().backward()
    wanted = (embedded.grad * embedded).sum(-1).detach()
    assert_close(gradient_x_input(MODEL, TOKENS, targets, -1, against), wanted, atol=1e-5, rtol=1e-4)
    assert all(p.grad is None for p in MODEL.parameters())


# Ablation and patching, by hand in a copy of the model


def hooked(place: Callable[[GPT2], torch.nn.Module], change: Callable[[Tensor], Tensor]) -> Tensor:
    """Logits of a copy whose module's output is changed by a PyTorch hook."""
    model = copy.deepcopy(MODEL)
    place(model).register_forward_hook(lambda module, args, output: change(output))
    return logits(model)


def zeroed(positions: slice | list[int]) -> Callable[[Tensor], Tensor]:
    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, positions] = 0
        return x

    return change


def where(*positions: int) -> Tensor:
    mask = torch.zeros_like(TOKENS, dtype=torch.bool)
    mask[:, list(positions)] = True
    return mask


def test_zero_ablation_of_a_sublayer_is_a_hook_that_gives_zero() -> None:
    for text, place in {
        "L1.attn": lambda m: m.transformer.h[1].attn,
        "L0.mlp": lambda m: m.transformer.h[0].mlp,
    }.items():
        component = Component.parse(text)
        assert_close(
            ablate(MODEL, TOKENS, [component]), hooked(place, zeroed(slice(None))), atol=1e-5, rtol=1e-5
        )
        some = ablate(MODEL, TOKENS, [component], where_BT=where(2, 5))
        assert_close(some, hooked(place, zeroed([2, 5])), atol=1e-5, rtol=1e-5)


def test_zero_ablation_of_a_head_is_the_loss_of_its_rows_of_the_output_matrix() -> None:
    model = copy.deepcopy(MODEL)
    with torch.no_grad():
        model.transformer.h[1].attn.c_proj.weight[8:16] = 0
    found = ablate(MODEL, TOKENS, [Component.parse("L1H1")])
    assert_close(found, logits(model), atol=1e-5, rtol=1e-5)
    every = ablate(MODEL, TOKENS, [Component("head", 1, 0), Component("head", 1, 1)])
    with torch.no_grad():
        model.transformer.h[1].attn.c_proj.weight.zero_()
    assert_close(every, logits(model), atol=1e-5, rtol=1e-5)


def test_mean_ablation_puts_the_mean_over_rows_and_positions_there() -> None:
    reference = some_tokens(MODEL, B=3, T=7, seed=9)
    seen: list[Tensor] = []
    model = copy.deepcopy(MODEL)
    model.transformer.h[0].mlp.register_forward_hook(lambda module, args, output: seen.append(output))
    logits(model, reference)
    mean = seen[0].detach().mean((0, 1))
    found = ablate(MODEL, TOKENS, [Component.parse("L0.mlp")], "mean", reference_BT=reference)
    wanted = hooked(lambda m: m.transformer.h[0].mlp, lambda x: mean.expand_as(x))
    assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    head = Component.parse("L2H0")
    z = activations(MODEL, TOKENS, ["h.2.attn.z"])["h.2.attn.z"]
    assert_close(means(MODEL, TOKENS, [head])[head], z[:, 0].mean((0, 1)))


def test_patching_everything_is_the_other_text_and_patching_later_positions_leaves_earlier_ones() -> None:
    source = some_tokens(MODEL, seed=8)
    last = [Component.parse("L2.resid")]
    assert_close(patch(MODEL, TOKENS, source, last), logits(MODEL, source), atol=1e-5, rtol=1e-5)
    part = patch(MODEL, TOKENS, source, last, where(10))
    assert_close(part[:, :10], logits(MODEL)[:, :10], atol=1e-5, rtol=1e-5)
    assert_close(part[:, 10], logits(MODEL, source)[:, 10], atol=1e-5, rtol=1e-5)


def test_patching_a_sublayer_is_a_hook_that_gives_what_it_gave_on_the_source() -> None:
    source, seen = some_tokens(MODEL, seed=8), []
    model = copy.deepcopy(MODEL)
    model.transformer.h[1].attn.register_forward_hook(
        lambda module, args, output: seen.append(output.detach())
    )
    logits(model, source)

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, [3, 4]] = seen[0][:, [3, 4]]
        return x

    wanted = hooked(lambda m: m.transformer.h[1].attn, change)
    found = patch(MODEL, TOKENS, source, [Component.parse("L1.attn")], where(3, 4))
    assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_patching_both_heads_is_patching_attention() -> None:
    source = some_tokens(MODEL, seed=8)
    both = patch(MODEL, TOKENS, source, [Component("head", 1, 0), Component("head", 1, 1)], where(3))
    assert_close(both, patch(MODEL, TOKENS, source, [Component("attn", 1)], where(3)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("text", ["L2H1", "L0.attn", "L1.mlp", "L2.resid", "embed", "pos_embed"])
def test_components_are_written_as_they_are_read(text: str) -> None:
    assert str(Component.parse(text)) == text


# Heads


def test_scores_are_means_of_probabilities_over_what_there_is_to_look_at() -> None:
    tokens = torch.tensor([[7, 8, 9, 7, 8, 9, 7], [1, 2, 3, 4, 1, 2, 3]])
    found, pattern = scores_on(MODEL, tokens), attention(MODEL, tokens)
    for layer in range(3):
        for head in range(2):
            sums: dict[str, list[float]] = {"previous": [], "duplicate": [], "induction": []}
            for row in range(2):
                p, text = pattern[layer, row, head], tokens[row].tolist()
                for q in range(7):
                    copies = [k for k in range(q) if text[k] == text[q]]
                    if q:
                        sums["previous"].append(float(p[q, q - 1]))
                    if copies:
                        sums["duplicate"].append(sum(float(p[q, k]) for k in copies))
                        sums["induction"].append(sum(float(p[q, k + 1]) for k in copies))
            for name, values in sums.items():
                score = float(getattr(found, name)[layer, head])
                assert math.isclose(score, sum(values) / len(values), abs_tol=1e-6), (name, layer, head)


def test_scores_do_not_depend_on_how_many_rows_are_read_at_once() -> None:
    tokens = repeats(MODEL, 6, 24, seed=3)
    assert_close(scores_on(MODEL, tokens, 1).induction, scores_on(MODEL, tokens, 6).induction)


def test_repeats_have_a_period_of_their_own_and_no_token_twice_in_it() -> None:
    model = GPT2(GPT2Config(n_layer=1, n_head=1, n_embd=4, n_positions=64, vocab_size=53))
    tokens, periods = repeats(model, 200, 64, eot_id=50), []
    for row in tokens.tolist():
        period = next(p for p in range(1, 64) if row[p:] == row[:-p])
        assert len(set(row[:period])) == period
        periods.append(period)
    assert set(periods) == set(range(5, 33))
    assert not (tokens == 50).any()
    assert torch.equal(repeats(model, 3, 64, seed=4), repeats(model, 3, 64, seed=4))
    assert not torch.equal(repeats(model, 3, 64, seed=4), repeats(model, 3, 64, seed=5))


def positional_model(period: int) -> GPT2:
    """One layer whose only head looks `period` - 1 tokens back, whatever stands there: learned positions alone."""
    n, D = 24, 128
    model = GPT2(GPT2Config(n_layer=1, n_head=1, n_embd=D, n_positions=n, vocab_size=30))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        t = model.transformer
        t.h[0].ln_1.weight.fill_(1)
        t.wte.weight[:, n : n + 30] = torch.eye(30) * 0.01
        t.wpe.weight[:, :n] = torch.eye(n)
        scores = torch.zeros(D, D)
        for q in range(n):
            scores[q, max(q - period + 1, 0)] = 1
        t.h[0].attn.c_attn.weight[:, :D] = scores * 40
        t.h[0].attn.c_attn.weight[:, D : 2 * D] = torch.eye(D)
    return model.eval()


def test_a_head_that_knows_positions_alone_scores_at_a_fixed_period_and_not_at_drawn_ones() -> None:
    """A one-layer model cannot do induction; at a fixed period it seems to."""
    model = positional_model(8)
    fixed, drawn = head_scores(model, period=8), head_scores(model, n_rows=64)
    assert float(fixed.induction[0, 0]) > 0.95
    assert float(drawn.induction[0, 0]) < 0.3


def test_losses_and_the_in_context_score() -> None:
    losses = next_token_losses(MODEL, TOKENS, batch_rows=1)
    wanted = -logits(MODEL).log_softmax(-1)[:, :-1].gather(-1, TOKENS[:, 1:, None])[..., 0]
    assert_close(losses, wanted, atol=1e-5, rtol=1e-5)
    score = in_context_score(losses, 2, 9)
    assert math.isclose(score, float(wanted[:, 9].mean() - wanted[:, 2].mean()), abs_tol=1e-5)


# Generation


def test_generation_is_the_engines_and_can_be_looked_into() -> None:
    from neogpt.inference.forward import Inference  # the engine's own cached pass, token by token
    from neogpt.inference.kv_cache import KVCache

    prompt, text = [5, 6, 7], [5, 6, 7]
    engine, cache = Inference(MODEL), KVCache(MODEL.config, 1, 24)
    tokens = torch.tensor([prompt])
    for _ in range(8):
        with torch.no_grad():
            last = engine.logits(engine.hidden(tokens, cache))[0, -1]
        cache.advance(torch.tensor([tokens.shape[1]]))
        text.append(int(last.argmax()))
        tokens = torch.tensor([[text[-1]]])
    found = look_into_generation(MODEL, prompt, 8, names=["h.*.attn.pattern"])
    assert found.tokens == text[3:]
    assert_close(found.activations["h.1.attn.pattern"], attention(MODEL, torch.tensor([text[:-1]]))[1])


def test_prompts_of_different_lengths_are_each_read_alone() -> None:
    prompts = [[5, 6, 7], [9], [1, 2, 3, 4, 5, 6, 7, 8]]
    together = generate_greedily(MODEL, prompts, 5)
    assert together == [generate_greedily(MODEL, [prompt], 5)[0] for prompt in prompts]
    stop = together[0][1]
    assert generate_greedily(MODEL, prompts, 5, stop)[0] == together[0][: together[0].index(stop) + 1]
    assert len(generate_greedily(MODEL, [[1] * 22], 9)[0]) == 2


def test_edits_act_on_what_is_written() -> None:
    silent = {f"h.{i}.attn.out": torch.zeros_like for i in range(3)}
    changed = generate_greedily(MODEL, [[5, 6, 7]], 6, edits=silent)
    model = copy.deepcopy(MODEL)
    with torch.no_grad():
        for block in model.transformer.h:
            block.attn.c_proj.weight.zero_()
            block.attn.c_proj.bias.zero_()
    assert changed == generate_greedily(model, [[5, 6, 7]], 6)
    assert changed != generate_greedily(MODEL, [[5, 6, 7]], 6)


# What cannot be asked


def bad(code: str, call: Callable[[], Any]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        call()
    assert caught.value.code == code
    return caught.value


def test_what_is_not_there_is_refused_and_the_nearest_named() -> None:
    error = bad("study.no_such_layer", lambda: activations(MODEL, TOKENS, ["h.3.mlp.out"]))
    assert "layer 2" in error.hint
    error = bad("study.no_such_activation", lambda: activations(MODEL, TOKENS, ["h.0.attn.patern"]))
    assert "h.0.attn.pattern" in error.hint
    bad("study.no_such_activation", lambda: activations(MODEL, TOKENS, ["h.x.resid_pre"]))
    bad("study.no_such_activation", lambda: activations(MODEL, TOKENS, [], {"attn": lambda x: x}))
    error = bad("study.no_such_head", lambda: ablate(MODEL, TOKENS, [Component.parse("L1H7")]))
    assert "head 1" in error.hint
    bad("study.no_such_layer", lambda: patch(MODEL, TOKENS, TOKENS, [Component.parse("L9.mlp")]))
    bad("study.no_such_component", lambda: Component.parse("H3"))
    bad("study.no_such_position", lambda: gradient_x_input(MODEL, TOKENS, torch.tensor([0, 0]), 11))
    bad("study.no_such_position", lambda: direct_logit_attribution(MODEL, TOKENS, torch.tensor([0, 0]), -12))


def test_input_that_no_model_reads_is_refused() -> None:
    long = torch.zeros(1, 25, dtype=torch.int64)
    for call in (attention, logit_lens, lambda m, t: ablate(m, t, []), scores_on):
        assert "1 tokens" in bad("study.prompt_too_long", lambda call=call: call(MODEL, long)).hint
    bad("study.unknown_token", lambda: attention(MODEL, torch.tensor([[53]])))
    bad("study.unknown_token", lambda: attention(MODEL, torch.tensor([[-1]])))
    bad("study.unknown_token", lambda: lens_readings(MODEL, TOKENS, torch.tensor([[53]])))
    bad("study.unknown_token", lambda: direct_logit_attribution(MODEL, TOKENS, torch.tensor([53, 1])))
    bad("study.bad_tokens", lambda: attention(MODEL, torch.tensor([1, 2])))
    bad("study.bad_tokens", lambda: attention(MODEL, TOKENS.int()))
    bad("study.bad_tokens", lambda: attention(MODEL, TOKENS[:, :0]))
    bad("study.not_gpt2", lambda: attention(torch.nn.Linear(2, 2), TOKENS))  # type: ignore[arg-type]
    bad("study.bad_edit", lambda: activations(MODEL, TOKENS, [], {"embed": lambda x: x[0]}))
    bad("study.bad_source", lambda: patch(MODEL, TOKENS, TOKENS[:1], [Component("attn", 0)]))
    bad("study.bad_positions", lambda: ablate(MODEL, TOKENS, [Component("attn", 0)], where_BT=TOKENS))
    bad("study.bad_period", lambda: head_scores(MODEL, period=20))
    bad("study.bad_period", lambda: repeats(MODEL, 1, 8))
    bad("study.bad_count", lambda: head_scores(MODEL, n_rows=0))
    bad("study.bad_count", lambda: lens_readings(MODEL, TOKENS, TOKENS, 99))
    bad("study.empty_prompt", lambda: generate_greedily(MODEL, [[]], 3))
    bad("study.no_such_position", lambda: in_context_score(torch.zeros(2, 10), 5, 10))
