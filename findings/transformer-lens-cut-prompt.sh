#!/usr/bin/env bash
# TransformerLens 4.3.0 cuts a text that is longer than the context, on the right and without a word.
#
# `TransformerBridge.to_tokens` has truncate=True by default, and everything that takes a text goes through it. So
# `logit_lens(model, text)`, which reads the last position, reads a token in the middle of the text, and the page of
# figures that comes of it is about another place than the one asked for. Nothing is logged or warned of. The same ids
# as a tensor are not cut. Whoever looks into long prompts should pass ids and check their number.
#
# Seen (torch 2.13.0, transformers 5.23.0): a text of 100 words, one token each, through a model with a context of 64:
#   the text has 100 tokens; to_tokens gives 63; the lens' last position is that of token 63; warnings: 0
# The script fails if the text is no longer cut, or if that is said.
# PYTHON=... uses an interpreter that has the packages; without it they go to a temporary folder.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$folder/venv"
    PYTHON="$folder/venv/bin/python"
    "$PYTHON" -m pip install --quiet "transformer-lens==4.3.0" "transformers==5.23.0" "torch==2.13.0"
fi

HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false "$PYTHON" - "$folder/model" <<'PYTHON_CODE'
import logging
import sys
import warnings

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

folder, V = sys.argv[1], 200
torch.manual_seed(0)
config = GPT2Config(
    vocab_size=V, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
)
words = {"<|endoftext|>": 0, **{f"w{i}": i for i in range(1, V)}}
backend = Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>"))
backend.pre_tokenizer = pre_tokenizers.Whitespace()
names = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>")
PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)
GPT2LMHeadModel(config).eval().save_pretrained(folder)

from transformer_lens.model_bridge import TransformerBridge  # noqa: E402
from transformer_lens.tools.analysis import logit_lens  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    bridge = TransformerBridge.boot_transformers(folder, device="cpu")
bridge.cfg.default_prepend_bos = False

said = []


class Ears(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


logging.getLogger().addHandler(Ears())
text = " ".join(f"w{i}" for i in range(1, 101))
with warnings.catch_warnings(record=True) as warned, torch.no_grad():
    warnings.simplefilter("always")
    tokens = bridge.to_tokens(text)
    last = logit_lens(bridge, text).values[-1, 0]
    of_63 = bridge(torch.arange(1, 64)[None])[0, -1]
n_words = len(backend.encode(text).ids)
is_middle = torch.allclose(last, of_63, atol=1e-4)
print(
    f"the text has {n_words} tokens; to_tokens gives {tokens.shape[1]}; "
    f"the lens' last position is that of token {63 if is_middle else '?'}; warnings: {len(warned) + len(said)}"
)
assert (n_words, tokens.shape[1], is_middle) == (100, 63, True), "the text is no longer cut"
assert not warned and not said, f"it is said now: {[str(w.message) for w in warned] + said}"
PYTHON_CODE
