"""TransformerLens 4.3 on the same saved directory: every quantity that both have, within 1e-4."""

from pathlib import Path
from typing import Any

import pytest
import torch
from generation_models import byte_tokenizer
from inside_models import some_tokens, whole_model
from torch import Tensor
from torch.testing import assert_close

from neogpt.config import GPT2Config
from neogpt.model import save_pretrained
from neogpt.studies.interpretability import (
    Component,
    ablate,
    activations,
    attention,
    direct_logit_attribution,
    gradient_x_input,
    lens_readings,
    logit_lens,
    patch,
    scores_on,
)
from neogpt.studies.interpretability.heads import next_token_losses

REASON = "TransformerLens, the referee, is not installed (pip install 'neogpt[dev]')"
pytest.importorskip("transformer_lens", reason=REASON)
pytestmark = pytest.mark.filterwarnings("ignore")  # TransformerLens' own

MODEL = whole_model(GPT2Config(n_layer=3, n_head=2, n_embd=32, n_positions=48, vocab_size=270), scale=2.0)
TOKENS = some_tokens(MODEL, B=3, T=17)
LAYERS = range(3)
NAMES = {
    "resid_pre": "hook_resid_pre", "resid_mid": "hook_resid_mid", "resid_post": "hook_resid_post",
    "attn.q": "attn.hook_q", "attn.k": "attn.hook_k", "attn.v": "attn.hook_v", "attn.z": "attn.hook_z",
    "attn.pattern": "attn.hook_pattern", "attn.out": "hook_attn_out", "ln_1": "ln1.hook_out", "ln_2": "ln2.hook_out",
    "mlp.pre": "mlp.hook_pre", "mlp.post": "mlp.hook_post", "mlp.out": "hook_mlp_out",
}  # fmt: skip
"""Our places and theirs; theirs have the head after the position."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_pretrained(MODEL, folder, byte_tokenizer().eot_id)
    byte_tokenizer().save(folder, MODEL.config.n_positions)
    return folder


def load(folder: Path) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def bridge(folder: Path) -> Any:
    return load(folder)


@pytest.fixture(scope="module")
def folded(folder: Path) -> Any:
    """The same with LayerNorms folded into the weights, as their attribution wants it."""
    bridge = load(folder)
    bridge.enable_compatibility_mode(disable_warnings=True)
    return bridge


def close(ours: Tensor, theirs: Tensor) -> None:
    assert_close(ours, theirs.detach(), atol=1e-4, rtol=1e-4)


def test_logits_losses_and_every_activation(bridge: Any) -> None:
    with torch.no_grad():
        logits, cache = bridge.run_with_cache(TOKENS, prepend_bos=False)
        losses = bridge(TOKENS, return_type="loss", loss_per_token=True, prepend_bos=False)
    ours = activations(MODEL, TOKENS, ["logits", "embed", "pos_embed", "ln_f", "ln_f.scale"])
    close(ours["logits"], logits)
    close(next_token_losses(MODEL, TOKENS), losses)
    close(ours["embed"], cache["hook_embed"])
    close(ours["pos_embed"], cache["hook_pos_embed"].expand_as(ours["pos_embed"]))
    close(ours["ln_f"], cache["ln_final.hook_out"])
    close(ours["ln_f.scale"], cache["ln_final.hook_scale"])
    for place, name in NAMES.items():
        kept = activations(MODEL, TOKENS, [f"h.*.{place}"])
        for i in LAYERS:
            theirs = cache[f"blocks.{i}.{name}"]
            by_head = place in ("attn.q", "attn.k", "attn.v", "attn.z")
            close(kept[f"h.{i}.{place}"], theirs.transpose(1, 2) if by_head else theirs)
    patterns = [cache[f"blocks.{i}.attn.hook_pattern"] for i in LAYERS]
    close(attention(MODEL, TOKENS), torch.stack(patterns))


def test_what_each_head_writes(bridge: Any) -> None:
    bridge.set_use_attn_result(True)
    with torch.no_grad():
        _, cache = bridge.run_with_cache(TOKENS, prepend_bos=False)
    bridge.set_use_attn_result(False)
    kept = activations(MODEL, TOKENS, ["h.*.attn.result"])
    for i in LAYERS:
        close(kept[f"h.{i}.attn.result"], cache[f"blocks.{i}.attn.hook_result"].transpose(1, 2))


def test_lens(bridge: Any) -> None:
    from transformer_lens.tools.analysis import logit_lens as their_lens

    found = their_lens(bridge, TOKENS, positions=None)
    close(logit_lens(MODEL, TOKENS), found.values)
    targets = some_tokens(MODEL, B=3, T=17, seed=4)
    ranked = their_lens(bridge, TOKENS, positions=None, targets=targets, return_type="probs")
    ours = lens_readings(MODEL, TOKENS, targets, n_top=4)
    close(ours.target_probs, ranked.values[..., 0])
    assert torch.equal(ours.target_ranks, ranked.rank_trajectory())
    best = their_lens(bridge, TOKENS, positions=None, top_k=4, return_type="probs")
    close(ours.top_probs, best.values)
    assert torch.equal(ours.top_ids, best.readout.top_ids)


def test_attribution(folded: Any) -> None:
    """Theirs is of the centred head without bias, so differences of two tokens are compared."""
    from transformer_lens.tools.analysis import direct_logit_attribution as theirs

    target, other = torch.tensor([5, 9, 30]), torch.tensor([7, 1, 200])
    ours = direct_logit_attribution(MODEL, TOKENS, target, -1, other)
    found = theirs(folded, TOKENS, target, other, unit="component")
    named = dict(zip(found.labels, found.attribution, strict=True))
    close(ours.mlps, torch.stack([named[f"{i}_mlp_out"] for i in LAYERS]))
    close(ours.heads.sum(1) + ours.attention_bias, torch.stack([named[f"{i}_attn_out"] for i in LAYERS]))
    close(ours.embed, named["embed"])
    close(ours.pos_embed, named["pos_embed"])


def test_attribution_of_heads(folder: Path) -> None:
    """Folding the value bias into the output bias moves a part from the heads to it; so it is left where it is."""
    from transformer_lens.tools.analysis import direct_logit_attribution as theirs

    bridge = load(folder)
    bridge.enable_compatibility_mode(disable_warnings=True, fold_value_biases=False)
    target, other = torch.tensor([5, 9, 30]), torch.tensor([7, 1, 200])
    ours = direct_logit_attribution(MODEL, TOKENS, target, -1, other)
    found = theirs(bridge, TOKENS, target, other, unit="head")
    named = dict(zip(found.labels, found.attribution, strict=True))
    for i in LAYERS:
        close(ours.heads[i], torch.stack([named[f"L{i}H{j}"] for j in range(2)]))


def with_hook(bridge: Any, name: str, change: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = bridge.run_with_hooks(TOKENS, fwd_hooks=[(name, change)], prepend_bos=False)
    return found


def test_ablation(bridge: Any) -> None:
    def no_head(z: Tensor, hook: Any) -> Tensor:
        z[:, :, 1] = 0
        return z

    def mean(x: Tensor, hook: Any) -> Tensor:
        return x.mean((0, 1)).expand_as(x)

    close(
        ablate(MODEL, TOKENS, [Component("head", 1, 1)]), with_hook(bridge, "blocks.1.attn.hook_z", no_head)
    )
    close(
        ablate(MODEL, TOKENS, [Component("mlp", 0)], "mean"), with_hook(bridge, "blocks.0.hook_mlp_out", mean)
    )
    close(
        ablate(MODEL, TOKENS, [Component("attn", 2)], "mean"),
        with_hook(bridge, "blocks.2.hook_attn_out", mean),
    )


def test_patching_every_layer_and_position(bridge: Any) -> None:
    from transformer_lens import patching

    source = some_tokens(MODEL, B=3, T=17, seed=6)

    def metric(logits: Tensor) -> Tensor:
        return logits[:, -1, 5].mean()

    with torch.no_grad():
        _, cache = bridge.run_with_cache(source, prepend_bos=False)
        for kind, sweep in (
            ("attn", patching.get_act_patch_attn_out),
            ("mlp", patching.get_act_patch_mlp_out),
        ):
            theirs = sweep(bridge, TOKENS, cache, metric)
            for i in LAYERS:
                for t in (0, 5, 16):
                    where = torch.zeros_like(TOKENS, dtype=torch.bool)
                    where[:, t] = True
                    ours = metric(patch(MODEL, TOKENS, source, [Component(kind, i)], where))
                    close(ours, torch.as_tensor(theirs[i, t]))


def test_head_scores(bridge: Any) -> None:
    """Theirs is the share of all attention; ours the mean over positions that have something to look at."""
    from transformer_lens.head_detector import detect_head

    text = "the cat and the dog and the cat sat on the cat and the"
    tokens = bridge.to_tokens(text, prepend_bos=False)
    assert torch.equal(tokens, torch.tensor([byte_tokenizer().encode(text)]))
    bridge.cfg.default_prepend_bos = False
    ours, T = scores_on(MODEL, tokens), tokens.shape[1]
    repeated = sum(int(tokens[0, q]) in tokens[0, :q].tolist() for q in range(T))
    assert 3 < repeated < T - 1
    for name, score, n in (
        ("previous_token_head", ours.previous, T - 1),
        ("duplicate_token_head", ours.duplicate, repeated),
        ("induction_head", ours.induction, repeated),
    ):
        with torch.no_grad():
            close(score * n / T, detect_head(bridge, text, name))


def test_gradient_x_input(bridge: Any) -> None:
    target, kept = torch.tensor([5, 9, 30]), {}

    def keep(x: Tensor, hook: Any) -> Tensor:
        kept["embed"] = x.detach().requires_grad_()
        return kept["embed"]

    logits = bridge.run_with_hooks(TOKENS, fwd_hooks=[("hook_embed", keep)], prepend_bos=False)
    logits[torch.arange(3), -1, target].sum().backward()
    theirs = (kept["embed"].grad * kept["embed"]).sum(-1)
    close(gradient_x_input(MODEL, TOKENS, target), theirs)
