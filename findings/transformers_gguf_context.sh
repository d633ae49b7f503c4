#!/usr/bin/env bash
# transformers 5.23.0 cannot load a GPT-2 from GGUF whose context is not 1,024 tokens, unless told `n_positions`.
#
# Expected: the file says `gpt2.context_length` 64, so the model has 64 positions.
# Seen:     the number arrives in the config as `n_ctx`, which GPT2Config does not read; `n_positions` stays at its default
#           1,024, the position embedding does not fit, and from_pretrained raises RuntimeError. With n_positions=64 it
#           loads, and every weight is as written.
# Here:     NeoGPT's GGUF files load with `n_positions=` (docs/export.md).
#
# Exit code 0: still so. 1: transformers has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet install transformers==5.23.0 torch==2.13.0 gguf==0.19.0 numpy==2.4.6
cat > "$folder/look.py" <<'PY'
import sys
from pathlib import Path

import gguf
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

transformers.logging.set_verbosity_error()
folder = Path(sys.argv[1])
model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=32, n_positions=64, vocab_size=4))
weights = {name.removeprefix("transformer."): tensor.detach() for name, tensor in model.named_parameters()}

writer = gguf.GGUFWriter(folder / "model.gguf", "gpt2")
writer.add_block_count(1)
writer.add_context_length(64)
writer.add_embedding_length(32)
writer.add_feed_forward_length(128)
writer.add_head_count(2)
writer.add_layer_norm_eps(1e-5)
writer.add_file_type(gguf.LlamaFileType.ALL_F32)
writer.add_tokenizer_model("gpt2")
writer.add_token_list(["a", "b", "ab", "<end>"])
writer.add_token_merges(["a b"])
names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, 1)
for name, tensor in weights.items():
    is_linear = tensor.dim() == 2 and name.startswith("h.")
    array = (tensor.T if is_linear else tensor).contiguous().numpy()
    writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), array)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

config = AutoConfig.from_pretrained(folder, gguf_file="model.gguf")
print(f"transformers {transformers.__version__}: n_ctx {config.n_ctx}, n_positions {config.n_positions}")
try:
    AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf")
    loads = True
except RuntimeError as error:
    loads = False
    print(f"from_pretrained: {type(error).__name__}")
told = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", n_positions=64)
same = all(torch.equal(told.state_dict()[f"transformer.{name}"], tensor) for name, tensor in weights.items())
print(f"told n_positions=64: loads, weights as written: {same}")
sys.exit(0 if same and not loads and (config.n_ctx, config.n_positions) == (64, 1024) else 1)
PY
"$folder/venv/bin/python" "$folder/look.py" "$folder"
