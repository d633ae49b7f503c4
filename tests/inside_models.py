"""Small models for the tests of the studies, all of whose parameters matter: biases and gains are random too."""

import torch
from torch import Tensor

from neogpt.config import GPT2Config
from neogpt.model import GPT2

SMALL = GPT2Config(n_layer=3, n_head=2, n_embd=16, n_positions=24, vocab_size=53)


def whole_model(config: GPT2Config = SMALL, seed: int = 0, scale: float = 3.0) -> GPT2:
    """A model in which forgetting any bias or gain shows, and whose attention is far from even."""
    model = GPT2(config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 2 and "h." in name:
                parameter.mul_(scale)
    return model.eval()


def some_tokens(model: GPT2, B: int = 2, T: int = 11, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, model.config.vocab_size, (B, T), generator=generator)
