"""GPT-2's forward pass written out for reading, with every intermediate result by name.

`neogpt/model/gpt2.py` is what trains; it uses fused kernels, which form no attention probabilities. This is the
same function as plain arithmetic, step by step, in the order of Radford et al. 2019. Any step can be kept, and
any can be replaced on its way. Only what is asked for is kept.

Names are the checkpoint's for the layer and TransformerLens's for the place (`h.3.attn.pattern`); `h.*` means
every layer. B rows, T tokens, D n_embd, H heads, K = D / H, V vocabulary:

    embed  pos_embed                      (B, T, D)     the token's and the position's embedding
    h.i.resid_pre                         (B, T, D)     the residual stream that layer i reads
    h.i.ln_1                              (B, T, D)     after the first LayerNorm
    h.i.attn.q  h.i.attn.k  h.i.attn.v    (B, H, T, K)  queries, keys, values
    h.i.attn.scores                       (B, H, T, T)  before the softmax; minus infinity for later keys
    h.i.attn.pattern                      (B, H, T, T)  attention probabilities: each query's row sums to 1
    h.i.attn.z                            (B, H, T, K)  the values, averaged by the pattern
    h.i.attn.result                       (B, H, T, D)  what each head writes into the stream (without the bias)
    h.i.attn.out                          (B, T, D)     what attention writes: all heads and the bias
    h.i.resid_mid                         (B, T, D)     the stream between attention and MLP
    h.i.ln_2                              (B, T, D)     after the second LayerNorm
    h.i.mlp.pre  h.i.mlp.post             (B, T, 4D)    the neurons before and after GELU
    h.i.mlp.out                           (B, T, D)     what the MLP writes into the stream
    h.i.resid_post                        (B, T, D)     the stream that layer i leaves behind
    ln_f.scale                            (B, T, 1)     the deviation that the final LayerNorm divides by
    ln_f                                  (B, T, D)     after the final LayerNorm
    logits                                (B, T, V)     scores of the next token
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from neogpt.errors import ConfigError
from neogpt.model import GPT2
from neogpt.model.gpt2 import LAYER_NORM_EPS, MLP, Attention, Block
from neogpt.studies.interpretability.checks import check_index, check_input, no_such

Edit = Callable[[Tensor], Tensor]
"""Takes an activation and returns what stands in its place, of the same shape."""
Visit = Callable[[str, Tensor], Tensor]

OUTSIDE = ("embed", "pos_embed", "ln_f.scale", "ln_f", "logits")
IN_LAYER = (
    "resid_pre", "ln_1", "attn.q", "attn.k", "attn.v", "attn.scores", "attn.pattern", "attn.z", "attn.result",
    "attn.out", "resid_mid", "ln_2", "mlp.pre", "mlp.post", "mlp.out", "resid_post",
)  # fmt: skip


def activations(
    model: GPT2,
    tokens_BT: Tensor,
    names: Iterable[str],
    edits: Mapping[str, Edit] | None = None,
    gradients: bool = False,
) -> dict[str, Tensor]:
    """The named activations of `model` reading `tokens_BT`, int64 (B, T); shapes stand at the top of this file.

    `edits`: what to replace, by name; everything after it follows from the new value, and a name that is also
    asked for gives that value. All rows are read as whole texts: shorter rows may be padded on the right, as no
    token sees later ones. Results are of the weights' dtype, and have gradients only with `gradients`.
    Errors: ConfigError: study.no_such_activation, study.no_such_layer, and those of `check_input`.
    """
    check_input(model, tokens_BT)
    record = _Recorder(set(expand(model, names)), dict(edits or {}))
    expand(model, record.edits)
    with torch.set_grad_enabled(gradients):
        _forward(model, tokens_BT, record)
    return record.kept


def expand(model: GPT2, names: Iterable[str]) -> list[str]:
    """The names with `h.*` written out for each layer, each checked against what this model has."""
    n_layer, found = model.config.n_layer, []
    for name in names:
        parts = name.split(".", 2)
        if name in OUTSIDE:
            found.append(name)
        elif len(parts) == 3 and parts[0] == "h" and parts[2] in IN_LAYER and parts[1] == "*":
            found += [f"h.{layer}.{parts[2]}" for layer in range(n_layer)]
        elif len(parts) == 3 and parts[0] == "h" and parts[2] in IN_LAYER and parts[1].isdecimal():
            check_index("layer", int(parts[1]), n_layer)
            found.append(f"h.{int(parts[1])}.{parts[2]}")
        else:
            raise no_such("activation", name, [*OUTSIDE, *(f"h.0.{place}" for place in IN_LAYER)])
    return found


class _Recorder:
    """Sees every activation: replaces those with an edit, keeps those that are wanted."""

    def __init__(self, wanted: set[str], edits: dict[str, Edit]) -> None:
        self.wanted, self.edits = wanted, edits
        self.kept: dict[str, Tensor] = {}

    def __call__(self, name: str, x: Tensor) -> Tensor:
        if name in self.edits:
            new = self.edits[name](x)
            if new.shape != x.shape:
                raise ConfigError(
                    f"the edit of {name} gave shape {tuple(new.shape)}",
                    f"{tuple(x.shape)}",
                    code="study.bad_edit",
                )
            x = new
        if name in self.wanted:
            self.kept[name] = x
        return x

    def needs(self, name: str) -> bool:
        """Whether anybody asks for this activation; few are formed only then."""
        return name in self.wanted or name in self.edits


def _forward(model: GPT2, tokens_BT: Tensor, see: _Recorder) -> None:
    """Embeddings, then the layers, each adding to the residual stream, then LayerNorm and the tied head."""
    transformer = model.transformer
    embed_BTD = see("embed", transformer.wte.weight[tokens_BT])
    positions_TD = transformer.wpe.weight[: tokens_BT.shape[1]]
    x_BTD = embed_BTD + see("pos_embed", positions_TD.expand_as(embed_BTD))
    for i, block in enumerate(blocks(model)):
        x_BTD = _layer(block, x_BTD, f"h.{i}.", see)
    if see.needs("logits") or see.needs("ln_f") or see.needs("ln_f.scale"):
        x_BTD = see("ln_f", _final_norm(transformer.ln_f, x_BTD, see))
    if see.needs("logits"):
        see("logits", x_BTD @ transformer.wte.weight.T)


def blocks(model: GPT2) -> list[Block]:
    """The layers, as what they are: PyTorch's list of modules has forgotten their type."""
    return [cast(Block, block) for block in model.transformer.h]


def layer(model: GPT2, i: int, x_BTD: Tensor) -> Tensor:
    """What layer `i` makes of the residual stream that it reads, (B, T, D), with gradients where they are on."""
    return _layer(blocks(model)[i], x_BTD, "", _Recorder(set(), {}))


def _layer(block: Block, x_BTD: Tensor, at: str, see: _Recorder) -> Tensor:
    """x + attention(LayerNorm(x)), then x + MLP(LayerNorm(x))."""
    x_BTD = see(f"{at}resid_pre", x_BTD)
    normed_BTD = see(f"{at}ln_1", layer_norm(block.ln_1, x_BTD))
    x_BTD = x_BTD + see(f"{at}attn.out", _attention(block.attn, normed_BTD, f"{at}attn.", see))
    x_BTD = see(f"{at}resid_mid", x_BTD)
    normed_BTD = see(f"{at}ln_2", layer_norm(block.ln_2, x_BTD))
    x_BTD = x_BTD + see(f"{at}mlp.out", _mlp(block.mlp, normed_BTD, f"{at}mlp.", see))
    return see(f"{at}resid_post", x_BTD)


def _attention(attention: Attention, x_BTD: Tensor, at: str, see: _Recorder) -> Tensor:
    """softmax(Q K^T / sqrt(K)) V for each head, causal; the heads side by side times the output matrix."""
    T, n_head = x_BTD.shape[1], attention.n_head
    qkv_BTE = x_BTD @ attention.c_attn.weight + attention.c_attn.bias
    q, k, v = (part.unflatten(-1, (n_head, -1)).transpose(1, 2) for part in qkv_BTE.chunk(3, -1))
    q_BHTK, k_BHTK, v_BHTK = see(f"{at}q", q), see(f"{at}k", k), see(f"{at}v", v)
    scores_BHTT = q_BHTK @ k_BHTK.mT / math.sqrt(q_BHTK.shape[-1])
    later_TT = torch.ones(T, T, dtype=torch.bool, device=x_BTD.device).triu(1)
    scores_BHTT = see(f"{at}scores", scores_BHTT.masked_fill(later_TT, -math.inf))
    pattern_BHTT = see(f"{at}pattern", scores_BHTT.softmax(-1))
    z_BHTK = see(f"{at}z", pattern_BHTT @ v_BHTK)
    if see.needs(f"{at}result"):
        heads_HKD = attention.c_proj.weight.unflatten(0, (n_head, -1))
        return see(f"{at}result", z_BHTK @ heads_HKD).sum(1) + attention.c_proj.bias
    return z_BHTK.transpose(1, 2).flatten(2) @ attention.c_proj.weight + attention.c_proj.bias


def _mlp(mlp: MLP, x_BTD: Tensor, at: str, see: _Recorder) -> Tensor:
    """GELU(x W + b) W' + b'."""
    pre_BTF = see(f"{at}pre", x_BTD @ mlp.c_fc.weight + mlp.c_fc.bias)
    post_BTF = see(f"{at}post", gelu(pre_BTF))
    return post_BTF @ mlp.c_proj.weight + mlp.c_proj.bias


def _final_norm(norm: nn.LayerNorm, x_BTD: Tensor, see: _Recorder) -> Tensor:
    """The final LayerNorm, whose divisor can be kept: attribution holds it fixed."""
    centred_BTD, scale_BT1 = centre_and_scale(x_BTD)
    return centred_BTD / see("ln_f.scale", scale_BT1) * norm.weight + norm.bias


def layer_norm(norm: nn.LayerNorm, x_BTD: Tensor) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon), times the gain, plus the bias (Ba et al. 2016)."""
    centred_BTD, scale_BT1 = centre_and_scale(x_BTD)
    return centred_BTD / scale_BT1 * norm.weight + norm.bias


def centre_and_scale(x_BTD: Tensor) -> tuple[Tensor, Tensor]:
    """The two parts of a LayerNorm: x less its mean over D, and the deviation to divide by, (B, T, 1)."""
    centred_BTD = x_BTD - x_BTD.mean(-1, keepdim=True)
    variance_BT1 = (centred_BTD * centred_BTD).mean(-1, keepdim=True)
    return centred_BTD, (variance_BT1 + LAYER_NORM_EPS).sqrt()


def gelu(x: Tensor) -> Tensor:
    """GPT-2's GELU, in the tanh form of Hendrycks & Gimpel 2016."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def unembed(model: GPT2, x: Tensor) -> Tensor:
    """A residual stream (..., D) as logits (..., V): the final LayerNorm, then the tied head."""
    return layer_norm(model.transformer.ln_f, x) @ model.transformer.wte.weight.T


def attention(model: GPT2, tokens_BT: Tensor) -> Tensor:
    """Attention probabilities of every head: (L, B, H, T, T), query before key. Errors: those of `activations`."""
    check_input(model, tokens_BT)
    (B, T), config = tokens_BT.shape, model.config
    weights = model.transformer.wte.weight
    patterns_LBHTT = weights.new_empty(config.n_layer, B, config.n_head, T, T)
    # Each layer's pattern goes straight to its place: a list of them to stack would take twice the memory.
    edits = {f"h.{i}.attn.pattern": patterns_LBHTT[i].copy_ for i in range(config.n_layer)}
    activations(model, tokens_BT, (), edits)
    return patterns_LBHTT
