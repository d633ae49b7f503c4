"""What a training step keeps in memory, part by part, at each moment that can be the fullest.

Every byte here is a tensor of `model/`, `optim/` or `train/`; tests compare the sum with what real steps take. Not
counted: the framework itself (the interpreter, torch, a GPU's context), and what an allocator wastes.

Letters: B rows of a micro-batch, T tokens of each, D n_embd, L n_layer, H heads, K = D / H, V vocab_size.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from neogpt.batching import fits
from neogpt.config import GPT2Config
from neogpt.model.sizes import (
    ATTENTION_LONG,
    ATTENTION_QUERIES,
    ATTENTION_SCORES,
    LOGITS_SCRATCH,
    head_chunk,
    n_block_matrices,
    n_params,
)

_LIBRARIES = {"float32": 8_000_000, "bfloat16": 24_000_000}  # what oneDNN keeps on a CPU, as measured

Parts = dict[str, int]
"""Bytes by name."""


@dataclass(frozen=True)
class Work:
    """What one process does in a step."""

    model: GPT2Config
    rows: int
    """Sequences of a micro-batch (B)."""
    length: int
    """Tokens a sequence (T)."""
    micro_batches: int
    """Of this process, a step."""
    processes: int = 1
    optimizer: str = "adamw"
    dtype: str = "float32"
    device: str = "cpu"
    reduction: str = "exact"
    parallel: str = "ddp"
    checkpointing: bool = False
    """Keep each block's input only, and run it again in the backward."""
    copy: Literal["", "at the end", "on the way"] = ""
    """When a save in the background first makes a copy of weights and optimizer in the host's memory."""

    @property
    def n_tokens(self) -> int:
        """B x T."""
        return self.rows * self.length

    @property
    def width(self) -> int:
        """Bytes of a number in the matrix products."""
        return 2 if self.dtype == "bfloat16" else 4

    @property
    def parts(self) -> int:
        """Of how many parts of weights, gradients and optimizer state this process holds one."""
        return self.processes if self.parallel == "fsdp" else 1

    @property
    def adds_in_place(self) -> bool:
        """Whether gradients add up where they lie, in place of a tree of sums."""
        return self.reduction == "fast" or self.parts > 1


@dataclass(frozen=True)
class Memory:
    """The fullest moment of a step, and how full the others are."""

    moment: str
    parts: Parts
    """At that moment, in bytes."""
    moments: dict[str, int]
    """Bytes at each moment."""

    @property
    def peak(self) -> int:
        """Bytes at the fullest moment."""
        return sum(self.parts.values())


def memory_of(work: Work) -> Memory:
    """Bytes of one process's device by part."""
    always = {
        "weights": 4 * n_params(work.model) // work.parts,
        "gathered weights": _gathered(work),
        "optimizer": optimizer_bytes(work) // work.parts,
        "gradients": _standing_gradients(work),
        "copy for saving": copy_bytes(work) if work.device == "cpu" and work.copy == "on the way" else 0,
        "batches": _batches(work),
        "libraries": _LIBRARIES[work.dtype] if work.device == "cpu" else 0,
    }
    moments = {name: _together(always, part(work)) for name, part in _MOMENTS.items()}
    totals = {name: sum(parts.values()) for name, parts in moments.items()}
    fullest = max(totals, key=lambda name: totals[name])
    return Memory(fullest, moments[fullest], totals)


def fewest_micro_batches(work: Work, size: int, limit_bytes: float) -> int:
    """Into how many micro-batches (of all processes) a batch of `size` must be cut to fit; 0: no number does.

    Only numbers that divide the batch and that the processes can share count: what can be typed.
    """
    for total in range(work.processes, size + 1):
        if size % total == 0 and fits(total, work.processes):
            rows, share = size // total, total // work.processes
            if memory_of(dataclasses.replace(work, rows=rows, micro_batches=share)).peak <= limit_bytes:
                return total
    return 0


def optimizer_bytes(work: Work) -> int:
    """AdamW: two float32 a parameter. Muon: one for the blocks' matrices, AdamW's two for the rest."""
    matrices = n_block_matrices(work.model) if work.optimizer == "muon" else 0
    return 8 * n_params(work.model) - 4 * matrices


def activation_bytes(work: Work) -> int:
    """What the forward of a micro-batch keeps for its backward."""
    D, stream = work.model.n_embd, 4 * work.n_tokens * work.model.n_embd
    last = stream + 8 * work.n_tokens  # into the final LayerNorm, and its statistics
    block = block_bytes(work)
    copies = 2 * (12 * D * D + 9 * D) if work.width == 2 else 0  # the block's weights in bfloat16
    if work.checkpointing:
        return work.model.n_layer * stream + last
    return work.model.n_layer * (block + copies) + last


def block_bytes(work: Work) -> int:
    """Of one block: float32 stream into each LayerNorm; the rest in the products' type.

    Output of both LayerNorms (2 D), queries, keys and values (3 D), attention's output (D), the GELU's slope or input
    (4 D) and its output (4 D).
    """
    D = work.model.n_embd
    a_token = 2 * 4 * D + (2 + 3 + 1 + 8) * D * work.width + 4 * 4
    return work.n_tokens * a_token + _attention_bytes(work)


def _attention_bytes(work: Work) -> int:
    """Beside its input and output PyTorch's attention keeps a float32 a token and head; NeoGPT's keeps nothing."""
    return 0 if _own_attention(work) else 4 * work.model.n_head * work.n_tokens


def _own_attention(work: Work) -> bool:
    """Whether the backward of attention is NeoGPT's (model/kernels.py)."""
    return work.device == "cpu" and work.width == 2 and work.length < ATTENTION_LONG


def _attention_backward(work: Work) -> int:
    """Scratch; queries and keys in float32; by heads what comes in and goes out, and both as they come and go."""
    if not _own_attention(work):
        return 0
    a_head = min(ATTENTION_QUERIES, work.length) * work.length
    scores = min(work.rows * work.model.n_head * a_head, max(a_head, ATTENTION_SCORES))
    sums = 8 if work.length > ATTENTION_QUERIES else 0
    return 8 * scores + (8 + 8 + 6 + 2 + 6 + sums) * work.n_tokens * work.model.n_embd


def held_gradients(micro_batches: int) -> int:
    """Sums that wait in the tree while a micro-batch is computed, at most (train/parallel/tree.py)."""
    return max(i.bit_count() for i in range(micro_batches))


def held_beside(micro_batches: int) -> int:
    """Those that wait beside a whole gradient, at most: every second micro-batch adds to one of them in place."""
    return held_gradients(-(-micro_batches // 2))


def _batches(work: Work) -> int:
    return work.micro_batches * work.n_tokens * 20  # tokens, targets (int64), weights (float32)


def copy_bytes(work: Work) -> int:
    """The copy of weights and optimizer state, whole, that a save in the background writes from (train/saver.py)."""
    return 4 * n_params(work.model) + optimizer_bytes(work)


def _gathered(work: Work) -> int:
    """Under fsdp: embeddings and head while a micro-batch is computed, and two blocks (train/parallel/fsdp.py)."""
    if work.parts == 1:
        return 0
    root = (work.model.vocab_size + work.model.n_positions + 2) * work.model.n_embd
    block = (n_params(work.model) - root) // work.model.n_layer
    return 4 * (root + 2 * block)


def _standing_gradients(work: Work) -> int:
    """That are there from the first micro-batch on: whole, or (fsdp, one micro-batch) what was not yet sent."""
    if not work.adds_in_place:
        return 0
    if work.parts > 1 and work.micro_batches == 1:
        return 4 * n_params(work.model) // work.parts
    return 4 * n_params(work.model)


def _waiting(work: Work, held: Callable[[int], int] = held_gradients) -> Parts:
    sums = 0 if work.adds_in_place else held(work.micro_batches)
    return {"gradient sums": sums * 4 * n_params(work.model)}


def _new_gradients(work: Work) -> int:
    """Of the micro-batch just computed, where they do not add up in place."""
    return 0 if work.adds_in_place else 4 * n_params(work.model)


def _loss(work: Work) -> Parts:
    """The forward's end: dW, dX, a chunk of logits, and in bfloat16 copies of X and W (model/cross_entropy.py)."""
    D, V, N = work.model.n_embd, work.model.vocab_size, work.n_tokens
    chunk = min(head_chunk(V, work.width, work.device), N)
    scratch = 4 * V * min(max(1, LOGITS_SCRATCH // V), N)
    copies = 2 * D * (N + V) if work.width == 2 else 0
    workspace = 4 * V * D + work.width * N * D + chunk * V * work.width + scratch + copies
    stream = 4 * N * D  # what the loss is computed from
    return {**_waiting(work), "activations": activation_bytes(work), "loss": workspace + stream}


def _backward_begins(work: Work) -> Parts:
    """The head's gradient, or later the last block's MLP or attention with the head's gradient."""
    D, V, N = work.model.n_embd, work.model.vocab_size, work.n_tokens
    head = 4 * V * D + (2 * work.width + 4) * N * D
    mlp = 4 * V * D + (4 + 4 * work.width + (2 if work.width == 2 else 0)) * N * D
    attention = 4 * V * D + 4 * N * D + _attention_backward(work)
    again = block_bytes(work) if work.checkpointing else 0  # the block that runs again
    fullest = max(head, max(mlp, attention) + again)
    return {**_waiting(work), "activations": activation_bytes(work), "loss": fullest}


def _backward_ends(work: Work) -> Parts:
    """All gradients; the embedding's comes in two parts, from head and input, beside their sum."""
    D, V = work.model.n_embd, work.model.vocab_size
    parts = 2 if work.adds_in_place or work.micro_batches > 1 else 1
    rest = {"gradients": _new_gradients(work), "loss": parts * 4 * V * D}
    return {**_waiting(work, held_beside), **rest, "activations": 8 * work.n_tokens * D}


def _sum(work: Work) -> Parts:
    """The sum over processes (train/parallel/distributed.py): flat copies to send, to receive, and of the result."""
    gradient = _new_gradients(work)
    copies = 5 if work.processes > 1 and not work.adds_in_place else 0
    held = 0 if copies else _waiting(work, held_beside)["gradient sums"]
    return {"gradients": gradient, "gradient sums": held, "sum over processes": copies * gradient}


def _update(work: Work) -> Parts:
    """Fused AdamW works in place. Muon makes all matrices of one shape orthogonal together (optim/muon.py).

    Fullest with queries, keys and values, 3 L D^2 numbers: Nesterov's direction three times in float32, four times in
    bfloat16 inside the iteration, and two Gram matrices; 24 bytes a number.
    """
    fused = 3 * work.model.n_layer * work.model.n_embd**2 if work.optimizer == "muon" else 0
    return {"gradients": _new_gradients(work), "update": 24 * fused}


def _save(work: Work) -> Parts:
    """On a CPU the copy lies beside the original (under fsdp the main process has made it whole before)."""
    if work.device != "cpu" or not work.copy:
        return {}
    whole = copy_bytes(work) if work.parts > 1 else 0
    return {"made whole": whole, "copy for saving": copy_bytes(work)}


def _together(always: Parts, now: Parts) -> Parts:
    """Both by name: what stands is no less because of what comes, except a copy, of which there is one."""
    parts = {name: always.get(name, 0) + now.get(name, 0) for name in [*always, *now]}
    parts["copy for saving"] = max(always["copy for saving"], now.get("copy for saving", 0))
    return {name: size for name, size in parts.items() if size}


_MOMENTS: dict[str, Callable[[Work], Parts]] = {
    "loss": _loss,
    "backward begins": _backward_begins,
    "backward ends": _backward_ends,
    "sum of gradients": _sum,
    "update": _update,
    "save": _save,
}
