"""Greedy decoding by the pass that can be read and edited: slow, and the definition of what the engine computes.

The engine's cached decoding shows no activations. Here the whole text is read again for each token, so any activation
can be kept, and edits act on every token that is written. B rows, T tokens, V vocabulary.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neogpt.errors import ConfigError
from neogpt.model import GPT2
from neogpt.studies.interpretability.activations import Edit, activations, expand

ROWS = 256
"""Texts read at once."""


@dataclass(frozen=True)
class Generated:
    """What followed a prompt, and the activations over prompt and answer."""

    tokens: list[int]
    """The new tokens, with the one that stopped them."""
    activations: dict[str, Tensor]
    """By name, over all tokens but the last, which was written and not yet read: B is 1."""


def look_into_generation(
    model: GPT2,
    prompt: Sequence[int],
    max_new_tokens: int,
    stop_id: int | None = None,
    names: Iterable[str] = (),
    edits: Mapping[str, Edit] | None = None,
) -> Generated:
    """The likeliest continuation of `prompt`, token by token, with the named activations over the whole text.

    Ends at `stop_id`, after `max_new_tokens`, or where the context is full. `edits`, as in `activations`, act at
    every step, on all tokens so far. Errors: ConfigError (study.empty_prompt), and those of `activations`.
    """
    names = expand(model, names)
    (tokens,) = generate_greedily(model, [prompt], max_new_tokens, stop_id, edits)
    read = torch.tensor([[*prompt, *tokens[:-1]]], device=model.device)
    return Generated(tokens, activations(model, read, names, edits) if names else {})


def generate_greedily(
    model: GPT2,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop_id: int | None = None,
    edits: Mapping[str, Edit] | None = None,
) -> list[list[int]]:
    """The likeliest continuation of each prompt, as `look_into_generation` has it, all prompts at once."""
    if not prompts or not all(prompts) or max_new_tokens < 1:
        raise ConfigError(
            "an empty prompt, or no token to write",
            "at least one token a prompt, and one to write",
            code="study.empty_prompt",
        )
    texts = [list(prompt) for prompt in prompts]
    running = list(range(len(texts)))
    for _ in range(max_new_tokens):
        for i, token in zip(running, likeliest(model, [texts[i] for i in running], edits), strict=True):
            texts[i].append(token)
        running = [i for i in running if texts[i][-1] != stop_id and len(texts[i]) < model.config.n_positions]
        if not running:
            break
    return [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)]


@torch.no_grad()
def likeliest(
    model: GPT2, texts: Sequence[Sequence[int]], edits: Mapping[str, Edit] | None = None
) -> list[int]:
    """The likeliest token after each text; shorter ones are padded on the right, where nothing is read from."""
    found: list[int] = []
    for start in range(0, len(texts), ROWS):
        tokens_BT, last_B = padded(texts[start : start + ROWS], model.device)
        x_BTD = activations(model, tokens_BT, ["ln_f"], edits)["ln_f"]
        rows_B = torch.arange(len(tokens_BT), device=model.device)
        found += (x_BTD[rows_B, last_B] @ model.transformer.wte.weight.T).argmax(-1).tolist()
    return found


def padded(texts: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """The texts as int64 (B, T), padded on the right with their own first token, and their last positions, (B,)."""
    tokens_BT = torch.tensor([[text[0]] * max(map(len, texts)) for text in texts], device=device)
    for row, text in zip(tokens_BT, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    return tokens_BT, torch.tensor([len(text) - 1 for text in texts], device=device)
