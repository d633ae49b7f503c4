#!/usr/bin/env bash
# TransformerLens 4.3.0: heads of a one-layer model score 0.9 as induction heads, where repeats have one period.
#
# `detect_head(..., "induction_head")` is the share of attention that goes to what followed an earlier copy of the
# token. On a text that repeats every P tokens that is always the position P - 1 back, so learned positions alone are
# enough: here a one-layer GPT-2, which has no earlier layer that could tell a head what stood before what, learns
# texts of period 16, and its best head gets a score like that of a true induction head. On texts of another period
# the same head scores near nothing. Whoever scores heads should draw periods at random.
#
# Seen (torch 2.13.0, transformers 5.23.0, on a CPU; the highest score that the measure allows is printed beside):
#   period 16: best head 0.71 of at most 0.75    period 11: best head 0.02 of at most 0.83
# The script fails if the first share is below 0.8 of what is possible, or the second above 0.3.
# PYTHON=... uses an interpreter that has the packages; without it they go to a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$folder/venv"
    PYTHON="$folder/venv/bin/python"
    "$PYTHON" -m pip install --quiet "transformer-lens==4.3.0" "transformers==5.23.0" "torch==2.13.0"
fi

HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false "$PYTHON" -W ignore - "$folder/model" <<'PYTHON_CODE'
import sys

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

folder, N, T, V = sys.argv[1], 64, 64, 200
torch.manual_seed(0)
config = GPT2Config(
    vocab_size=V, n_positions=N, n_embd=64, n_layer=1, n_head=4, bos_token_id=0, eos_token_id=0,
    resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
)
model = GPT2LMHeadModel(config)


def texts(rows, period):
    drawn = torch.stack([torch.randperm(V - 1)[:period] + 1 for _ in range(rows)])
    return drawn.repeat(1, T // period + 1)[:, :T]


optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
for step in range(150):
    tokens = texts(16, 16)
    logits = model(tokens).logits[:, 16:-1]  # only what can be known: the repeats
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 17:].flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"trained: loss of repeats {loss.item():.2f}, chance {torch.log(torch.tensor(float(V))):.2f}")

words = {"<|endoftext|>": 0, **{f"w{i}": i for i in range(1, V)}}
backend = Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>"))
backend.pre_tokenizer = pre_tokenizers.Whitespace()
names = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>")
PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)
model.eval().save_pretrained(folder)

import transformer_lens  # noqa: E402
from transformer_lens.head_detector import detect_head  # noqa: E402
from transformer_lens.model_bridge import TransformerBridge  # noqa: E402

bridge = TransformerBridge.boot_transformers(folder, device="cpu")
bridge.cfg.default_prepend_bos = False
found = {}
for period in (16, 11):
    rows = [" ".join(f"w{int(i)}" for i in row[: T - 1]) for row in texts(8, period)]
    with torch.no_grad():
        best = float(detect_head(bridge, rows, "induction_head").max())
    most = (T - 1 - period) / (T - 1)
    found[period] = best / most
    print(f"period {period}: best head {best:.2f} of at most {most:.2f}")
assert found[16] > 0.8, "the one-layer model no longer scores: this finding is out of date"
assert found[11] < 0.3, "at another period it scores too: this finding is out of date"
PYTHON_CODE
