"""Pretraining of a small GPT-2, made of NeoGPT's parts: what nanoGPT's train.py does, in as many lines.

    python examples/minimal.py --steps 200            # then: neogpt generate minimal-gpt2 "The library of"

`neogpt pretrain` adds what a long run needs: exact resume, many processes, guards, evaluations, a log of every step.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch

import neogpt
from neogpt.config import DataConfig, GPT2Config, OptimConfig
from neogpt.data.build_tokenizer import tokenizer_for
from neogpt.data.permutation import sample_ids
from neogpt.data.prepare import prepare
from neogpt.data.shards import TokenData
from neogpt.data.sources.tinyworld import Tinyworld
from neogpt.data.windows import Windows
from neogpt.objectives.batching import on_device, token_loss
from neogpt.optim import build, set_lr
from neogpt.optim.schedule import learning_rate

BATCH, LENGTH, SEED = 16, 96, 0  # sequences a step, tokens a sequence


def mean_loss(model: neogpt.GPT2, windows: Windows, ids_B: Sequence[int]) -> torch.Tensor:
    """Nats a token of the windows with these numbers, a scalar."""
    batch = windows.batch(np.array(ids_B))
    return token_loss(model, on_device(batch, model.device)) / batch.weights.sum()


def main(steps: int, out: str) -> list[float]:
    """Train, write a Hugging Face folder, and return each step's loss."""
    source = Tinyworld()  # or Text(path="my-texts"), Parquet(...), FinewebEdu(): any that has documents
    data = DataConfig(tokenizer="trained", vocab_size=1344)
    tokenizer = tokenizer_for(data, source)
    folder = prepare(source, data, tokenizer)  # token ids in shards: made once, found again
    train, held_out = (Windows(TokenData(folder, split), LENGTH) for split in ("train", "val"))

    vocab_size = tokenizer.vocab_size
    config = GPT2Config(n_layer=4, n_head=4, n_embd=128, n_positions=LENGTH, vocab_size=vocab_size)
    model = neogpt.GPT2(config, SEED)
    optim = OptimConfig(name="muon", lr=5e-3)
    optimizers = build(list(model.named_parameters()), optim, torch.float32)
    losses = []
    for step in range(steps):
        ids_B = sample_ids(step, BATCH, len(train), SEED)  # no loader, no state: seed and step say which
        loss = mean_loss(model, train, ids_B)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optim.max_grad_norm)
        set_lr(optimizers, learning_rate(step, steps, optim))
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad()
        losses.append(loss.item())
        if step % 20 == 0:
            print(f"step {step}  loss {losses[-1]:.3f}")

    with torch.no_grad():
        print(f"held-out loss {mean_loss(model, held_out, range(min(64, len(held_out)))):.3f}")
    neogpt.save(model, tokenizer, out)
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", default="minimal-gpt2")
    main(**vars(parser.parse_args()))
