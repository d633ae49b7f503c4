"""What a study can be asked about: checks that name the nearest thing that is there. No result is guessed."""

import difflib
from collections.abc import Sequence

import torch
from torch import Tensor

from neogpt.errors import ConfigError
from neogpt.model import GPT2


def check_input(model: GPT2, tokens_BT: Tensor) -> None:
    """ConfigError unless `tokens_BT`, int64 (B, T), is something that `model`, a GPT-2 of NeoGPT, can read.

    Codes: study.not_gpt2, study.bad_tokens, study.prompt_too_long, study.unknown_token.
    """
    if not isinstance(model, GPT2):
        raise ConfigError(
            f"a {type(model).__name__} is not a GPT-2 of NeoGPT",
            "what neogpt.load returns; other families are not supported",
            code="study.not_gpt2",
        )
    if tokens_BT.dtype != torch.int64 or tokens_BT.dim() != 2 or not tokens_BT.numel():
        raise ConfigError(
            f"tokens of type {tokens_BT.dtype} and shape {tuple(tokens_BT.shape)}",
            "int64 (rows, tokens), with at least one of each",
            code="study.bad_tokens",
        )
    longest = model.config.n_positions
    if tokens_BT.shape[1] > longest:
        raise ConfigError(
            f"the prompt has {tokens_BT.shape[1]:,} tokens",
            f"at most {longest:,}, the context of this model",
            f"leave out {tokens_BT.shape[1] - longest:,} tokens of the prompt",
            code="study.prompt_too_long",
        )
    check_ids(model, tokens_BT)


def check_ids(model: GPT2, ids: Tensor) -> None:
    """ConfigError (study.unknown_token) unless all ids are in the vocabulary."""
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= model.config.vocab_size:
        raise ConfigError(
            f"there is no token {low if low < 0 else high:,}",
            f"ids from 0 to {model.config.vocab_size - 1:,}",
            "the tokenizer that the model was trained with",
            code="study.unknown_token",
        )


def check_index(kind: str, index: int, count: int) -> None:
    """ConfigError (study.no_such_layer, study.no_such_head, ...) unless 0 <= index < count."""
    if not 0 <= index < count:
        nearest = min(max(index, 0), count - 1)
        raise ConfigError(
            f"there is no {kind} {index}",
            f"{kind}s 0 to {count - 1} of this model",
            f"{kind} {nearest}, the nearest",
            code=f"study.no_such_{kind}",
        )


def last_positions(position: int | Tensor, tokens_BT: Tensor) -> Tensor:
    """One position a row, int64 (B,), from one for all rows (negative: from the end) or one a row.

    Errors: ConfigError (study.no_such_position).
    """
    B, T = tokens_BT.shape
    if isinstance(position, int):
        check_index("position", position + T if position < 0 else position, T)
        position = torch.full((B,), position % T)
    if position.shape != (B,):
        raise ConfigError(
            f"positions of shape {tuple(position.shape)}",
            f"one for each of {B} rows",
            code="study.bad_positions",
        )
    for index in (int(position.min()), int(position.max())):
        check_index("position", index, T)
    return position.to(tokens_BT.device)


def no_such(kind: str, name: str, known: Sequence[str]) -> ConfigError:
    """The error for a name that is not among `known`, with the nearest."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = " or ".join(near) + ", the nearest" if near else ""
    shown = ", ".join(known) if len(known) <= 40 else f"{', '.join(known[:20])}, ..."
    return ConfigError(
        f"there is no {kind} named {name!r}",
        f"one of {shown}",
        hint,
        code=f"study.no_such_{kind.replace(' ', '_')}",
    )
