"""How many numbers a GPT-2 of some shape has, how many operations a token costs, and how the kernels cut their work.

No torch here: `plan/` reads the same figures that the kernels use.

Letters: L n_layer, D n_embd, V vocab_size, P n_positions, T tokens of a sequence, N parameters.
"""

from neogpt.config import GPT2Config

ATTENTION_QUERIES = 256
"""Queries a block of attention's backward on CPUs: later keys are skipped, not masked."""
ATTENTION_SCORES = 2**22
"""Scores at once there: their scratch is used again and again."""
ATTENTION_LONG = 1024
"""Tokens from which PyTorch's own attention takes no longer."""
LOGITS_SCRATCH = 2**20
"""Logits in float32 at once in the loss, so that they stay in the processor's cache."""
_LOGITS_BYTES = {"cpu": 2**27, "cuda": 2**29}


def n_params(config: GPT2Config) -> int:
    """Trainable numbers, exactly; the tied head counts once."""
    D = config.n_embd
    block = 12 * D * D + 13 * D  # four matrices (3 + 1 + 4 + 4 D^2), their biases, two LayerNorms
    return (config.vocab_size + config.n_positions) * D + config.n_layer * block + 2 * D


def n_block_matrices(config: GPT2Config) -> int:
    """Numbers in the blocks' matrices: what Muon updates."""
    return 12 * config.n_layer * config.n_embd**2


def flops_per_token(config: GPT2Config, length: int) -> int:
    """Training FLOPs a token: 6 N + 12 L D T (Chowdhery et al. 2022, appendix B).

    N counts all parameters: the embedding is the output head too. The second part is attention, counted as if every
    token saw all T, as everybody does who quotes an MFU.
    """
    return 6 * n_params(config) + attention_flops_per_token(config, length)


def attention_flops_per_token(config: GPT2Config, length: int) -> int:
    """The part of `flops_per_token` that grows with the length of a sequence."""
    return 12 * config.n_layer * config.n_embd * length


def head_chunk(vocab_size: int, itemsize: int, device: str) -> int:
    """Tokens whose logits, of `itemsize` bytes each, the head has in memory at once while it trains."""
    return max(1, _LOGITS_BYTES.get(device, 2**29) // (vocab_size * itemsize))
