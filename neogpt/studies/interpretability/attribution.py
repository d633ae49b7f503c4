"""Which part of the model, and which token of the prompt, a prediction comes from.

B rows, T tokens, L layers, H heads, D n_embd, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from neogpt.model import GPT2
from neogpt.studies.interpretability.activations import activations, blocks, layer, layer_norm
from neogpt.studies.interpretability.checks import check_ids, check_input, last_positions


@dataclass(frozen=True)
class Attribution:
    """A logit, or the difference of two, as the sum of what each part of the model adds to it."""

    embed: Tensor
    """(B,): the token's own embedding, which the residual stream carries from the start."""
    pos_embed: Tensor
    """(B,): the position's embedding."""
    heads: Tensor
    """(L, H, B): each head."""
    attention_bias: Tensor
    """(L, B): the bias of each layer's attention output, which belongs to no head."""
    mlps: Tensor
    """(L, B): each MLP, with its bias."""
    final_bias: Tensor
    """(B,): the bias of the final LayerNorm, the same for every prompt."""

    @property
    def total(self) -> Tensor:
        """(B,): the sum of all parts: the logit itself."""
        layers_B = self.heads.sum((0, 1)) + self.attention_bias.sum(0) + self.mlps.sum(0)
        return self.embed + self.pos_embed + layers_B + self.final_bias

    def by_name(self, row: int = 0) -> dict[str, float]:
        """Each part of one row by its name: `embed`, `L0H0`, `L0.mlp`, `L0.attn_bias`, `ln_f.bias`, ..."""
        named = {"embed": self.embed, "pos_embed": self.pos_embed}
        for i, heads_HB in enumerate(self.heads):
            named |= {f"L{i}H{head}": head_B for head, head_B in enumerate(heads_HB)}
            named[f"L{i}.attn_bias"] = self.attention_bias[i]
            named[f"L{i}.mlp"] = self.mlps[i]
        named["ln_f.bias"] = self.final_bias
        return {name: float(values_B[row]) for name, values_B in named.items()}


@torch.no_grad()
def direct_logit_attribution(
    model: GPT2,
    tokens_BT: Tensor,
    targets_B: Tensor,
    position: int | Tensor = -1,
    against_B: Tensor | None = None,
) -> Attribution:
    """What each head, MLP and embedding adds to the logit of `targets_B` at `position`, int64 (B,) each.

    With `against_B`: to the logit of the target less that of the other token, which leaves out what all tokens share.
    The final LayerNorm's deviation is held at the value that it has on this text; with that the logit is linear in
    what the parts wrote, and their sum is the logit (Elhage et al. 2021, "A Mathematical Framework for Transformer
    Circuits"). Direct effects only: what a head adds by way of later layers counts for those.
    `position`: one for all rows (negative: from the end), or one a row.
    Errors: ConfigError (study.no_such_position), and those of `check_input`.
    """
    check_input(model, tokens_BT)
    rows_B = torch.arange(len(tokens_BT), device=tokens_BT.device)
    at_B = last_positions(position, tokens_BT)
    names = ["embed", "pos_embed", "h.*.attn.z", "h.*.mlp.out", "ln_f.scale"]
    kept = activations(model, tokens_BT, names)
    direction_BD = _direction(model, targets_B, against_B)
    norm = model.transformer.ln_f
    scaled_BD = direction_BD * norm.weight / kept["ln_f.scale"][rows_B, at_B]
    read_BD = scaled_BD - scaled_BD.mean(-1, keepdim=True)  # as LayerNorm takes the mean from what it reads

    def added(x_BTD: Tensor) -> Tensor:
        return (x_BTD[rows_B, at_B] * read_BD).sum(-1)

    layers = blocks(model)
    z_LBHK = [kept[f"h.{i}.attn.z"][rows_B, :, at_B] for i in range(len(layers))]
    return Attribution(
        embed=added(kept["embed"]),
        pos_embed=added(kept["pos_embed"]),
        heads=torch.stack(
            [_heads(z, block.attn.c_proj.weight, read_BD) for z, block in zip(z_LBHK, layers, strict=True)]
        ),
        attention_bias=torch.stack([read_BD @ block.attn.c_proj.bias for block in layers]),
        mlps=torch.stack([added(kept[f"h.{i}.mlp.out"]) for i in range(len(layers))]),
        final_bias=direction_BD @ norm.bias,
    )


def _heads(z_BHK: Tensor, weight_DD: Tensor, read_BD: Tensor) -> Tensor:
    """What each head's values, through its rows of the output matrix, add along `read_BD`: (H, B)."""
    weight_HKD = weight_DD.unflatten(0, (z_BHK.shape[1], -1))
    return torch.einsum("bhk,hkd,bd->hb", z_BHK, weight_HKD, read_BD)


def _direction(model: GPT2, targets_B: Tensor, against_B: Tensor | None) -> Tensor:
    embeddings_VD = model.transformer.wte.weight
    check_ids(model, targets_B)
    if against_B is None:
        return embeddings_VD[targets_B]
    check_ids(model, against_B)
    return embeddings_VD[targets_B] - embeddings_VD[against_B]


def gradient_x_input(
    model: GPT2,
    tokens_BT: Tensor,
    targets_B: Tensor,
    position: int | Tensor = -1,
    against_B: Tensor | None = None,
) -> Tensor:
    """How much each token's embedding matters for the logit of `targets_B`: gradient times input, (B, T).

    The gradient of the logit (less that of `against_B`, if given) with respect to the token's embedding, times the
    embedding, summed over D: what the logit would lose, to first order, without the token (Shrikumar et al. 2016,
    "Not Just a Black Box"). Arguments and errors as for `direct_logit_attribution`.
    """
    check_input(model, tokens_BT)
    rows_B = torch.arange(len(tokens_BT), device=tokens_BT.device)
    at_B = last_positions(position, tokens_BT)
    direction_BD = _direction(model, targets_B, against_B).detach()
    kept = activations(
        model, tokens_BT, ["embed", "h.*.resid_pre", f"h.{model.config.n_layer - 1}.resid_post"]
    )

    def logits_B(x_BTD: Tensor) -> Tensor:
        return (layer_norm(model.transformer.ln_f, x_BTD[rows_B, at_B]) * direction_BD).sum()

    # Backwards one layer at a time, each computed again: the whole pass's intermediate results are never held.
    gradient_BTD = _pulled_back(logits_B, kept[f"h.{model.config.n_layer - 1}.resid_post"])
    for i in reversed(range(model.config.n_layer)):
        step = partial(layer, model, i)
        gradient_BTD = _pulled_back(step, kept[f"h.{i}.resid_pre"], gradient_BTD)
    return (gradient_BTD * kept["embed"]).sum(-1)


@torch.enable_grad()
def _pulled_back(function: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor | None = None) -> Tensor:
    """The gradient with respect to x of what `function` makes of it, weighted by `gradient`."""
    x = x.detach().requires_grad_()
    (found,) = torch.autograd.grad(function(x), x, gradient)
    return found.detach()
