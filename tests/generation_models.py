"""Tiny random models and a byte tokenizer for the tests of generation and chat."""

import functools
from pathlib import Path

import torch

from neogpt.config import GPT2Config
from neogpt.model import GPT2, save_pretrained
from neogpt.tokenizer import Tokenizer


@functools.cache
def byte_tokenizer() -> Tokenizer:
    """The 256 bytes, end-of-text, and a few merges."""
    return Tokenizer.train(["the cat and the dog and the cat sat on the mat"] * 50, vocab_size=270)


def random_model(
    seed: int = 0, n_positions: int = 64, vocab_size: int | None = None, scale: float = 8.0
) -> GPT2:
    """A GPT-2 whose weights are large enough that its distributions are far from flat."""
    vocab_size = vocab_size or byte_tokenizer().vocab_size
    model = GPT2(
        GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=n_positions, vocab_size=vocab_size), seed
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.mul_(scale if "h." in name else scale / 2)
    return model.eval()


def scripted_model(script: list[int], vocab_size: int, shift: int = 0) -> GPT2:
    """A GPT-2 that says `script[p + shift]` after position p: only the position decides, whatever the prompt.

    Blocks write nothing; the position embedding is the wanted token's (orthogonal) embedding. At the end of the
    script it starts again.
    """
    width = vocab_size + vocab_size % 2
    model = GPT2(
        GPT2Config(n_layer=1, n_head=1, n_embd=width, n_positions=len(script), vocab_size=vocab_size)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        embedding_VD = torch.eye(vocab_size, width)
        model.transformer.wte.weight.copy_(embedding_VD)
        model.transformer.wpe.weight.copy_(embedding_VD[script].roll(-shift, 0) * 1000)
        model.transformer.ln_f.weight.fill_(1.0)
    return model.eval()


def saved(model: GPT2, folder: Path) -> str:
    """The model with its tokenizer in a Hugging Face directory, as commands take it."""
    save_pretrained(model, folder, eot_id=byte_tokenizer().eot_id)
    byte_tokenizer().save(folder, model.config.n_positions)
    return str(folder)
