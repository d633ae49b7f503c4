"""Hugging Face directories: config.json and model.safetensors, as transformers and what else reads GPT-2 load them.

Parameters already carry Hugging Face's layout and names, so files hold exactly the model's own tensors; the
prefix `transformer.` is cut off, which OpenAI's own files have not and mlx-lm refuses (docs/adr/0007). llama.cpp reads
GGUF (neogpt/export/gguf.py). What is read is checked before it is believed: options this GPT-2 does not implement,
tensors that are missing, unknown or of another shape, and pickles are named in the error. No pickle is ever opened.
"""

import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from neogpt import atomic
from neogpt.config import GPT2Config
from neogpt.errors import CheckpointError, ConfigError
from neogpt.model.gpt2 import GPT2, LAYER_NORM_EPS
from neogpt.paths import safe_join

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_PREFIX = "transformer."  # before the names of parameters, and before those in files of transformers' GPT2LMHeadModel
_GPT2_VOCAB, _GPT2_EOT = 50257, 50256
_SHAPE = ("n_layer", "n_head", "n_embd", "n_positions", "vocab_size")
# Options of Hugging Face's GPT2Config that change the result, with the values that mean GPT-2 as defined.
_OPTIONS: dict[str, tuple[Any, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (LAYER_NORM_EPS,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
    "quantization_config": (None,),
}
# Causal masks that old checkpoints store beside the weights.
_MASKS = re.compile(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)")


def save_pretrained(model: GPT2, folder: str | Path, eot_id: int | None = None) -> None:
    """Write config.json, generation_config.json and model.safetensors, each whole or not at all.

    eot_id: the id of end-of-text, where generation stops; without it GPT-2's own for its 50,257 ids, else
    none. The same model gives the same bytes. Errors: OSError when the disk refuses.
    """
    save_weights(model.config, model.state_dict(), Path(folder), eot_id)


def save_weights(
    config: GPT2Config, weights: Mapping[str, Tensor], folder: Path, eot_id: int | None = None
) -> None:
    """What `save_pretrained` does, from a model's named tensors: they may be a copy, or gathered."""
    folder.mkdir(parents=True, exist_ok=True)
    if eot_id is None and config.vocab_size == _GPT2_VOCAB:
        eot_id = _GPT2_EOT
    dtype = next(iter(weights.values())).dtype
    atomic.write_json(folder / CONFIG, _config_json(config, dtype, eot_id))
    ids = {"bos_token_id": eot_id, "eos_token_id": eot_id, "pad_token_id": eot_id}
    atomic.write_json(
        folder / "generation_config.json", {name: id for name, id in ids.items() if id is not None}
    )
    tensors = {
        name.removeprefix(_PREFIX): tensor.detach().cpu().contiguous() for name, tensor in weights.items()
    }
    temporary = folder / f"{WEIGHTS}.tmp-{uuid.uuid4().hex[:8]}"
    try:
        save_file(tensors, temporary, metadata={"format": "pt"})
        shutil.copymode(folder / CONFIG, temporary)  # safetensors makes files private; the umask decides here
        atomic.fsync(temporary)
        os.replace(temporary, folder / WEIGHTS)
    finally:
        temporary.unlink(missing_ok=True)
    atomic.fsync(folder)


def load_pretrained(folder: str | Path) -> GPT2:
    """The GPT-2 of a Hugging Face directory, in float32 on the CPU, in eval mode.

    Accepts names with or without `transformer.`, a stored copy of the tied head, the causal masks of old
    files, half precision (widened) and weights in several files. Errors: CheckpointError, which names what is
    wrong.
    """
    folder = Path(folder)
    config = _read_config(folder)
    files = _weight_files(folder)
    with torch.device("meta"):
        model = GPT2(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tensors: dict[str, Tensor] = {}
    for path in files:
        tensors.update(_read_tensors(path, expected))
    if missing := sorted(expected.keys() - tensors.keys()):
        raise CheckpointError(
            f"{folder} lacks {_some(missing)}",
            f"the {len(expected)} tensors of {config.n_layer} layers",
            code="model.tensors_missing",
        )
    _check_head(folder, tensors)
    model.load_state_dict(tensors, assign=True)
    return model.requires_grad_(True).eval()


def _config_json(config: GPT2Config, dtype: torch.dtype, eot_id: int | None) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        **{name: getattr(config, name) for name in _SHAPE},
        # transformers no longer writes it; llama.cpp's converter and transformers' GGUF reader know it
        "n_ctx": config.n_positions,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": LAYER_NORM_EPS,
        "initializer_range": 0.02,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "tie_word_embeddings": True,
        "bos_token_id": eot_id,
        "eos_token_id": eot_id,
        "dtype": str(dtype).removeprefix("torch."),
        "use_cache": True,
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent} has no {path.name}",
            "a Hugging Face directory of a GPT-2",
            code="model.file_missing",
        ) from None
    except ValueError as error:
        raise CheckpointError(
            f"{path} is not JSON: {error}", "the file that was saved with the model", code="model.not_json"
        ) from None
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{path} holds a {type(value).__name__}", "a JSON object", code="model.not_json"
        )
    return value


def _read_config(folder: Path) -> GPT2Config:
    values = _read_json(folder / CONFIG)
    path = folder / CONFIG
    for name, allowed in _OPTIONS.items():
        value = values.get(name, allowed[0] if name != "model_type" else None)
        if value not in allowed:
            raise CheckpointError(
                f"{path}: {name} is {value!r}",
                f"{allowed[0]!r}, which is all NeoGPT runs",
                code="model.other_family" if name == "model_type" else "model.other_option",
            )
    for name in _SHAPE:
        if type(values.get(name)) is not int:
            raise CheckpointError(
                f"{path}: {name} is {values.get(name)!r}", "a whole number", code="model.not_gpt2"
            )
    if values.get("n_inner") not in (None, 4 * values["n_embd"]):
        raise CheckpointError(
            f"{path}: n_inner is {values['n_inner']!r}", "null, which means 4 x n_embd", code="model.not_gpt2"
        )
    try:
        return GPT2Config(**{name: values[name] for name in _SHAPE})
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error.what}", error.expected, code="model.not_gpt2") from None


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        names = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise CheckpointError(
                f"{folder / INDEX} has no weight_map",
                "a map of tensor names to files",
                code="model.bad_index",
            )
        return [safe_join(folder, name) for name in sorted(set(names.values()))]
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise CheckpointError(
            f"{folder} has its weights only as a pickle ({_some(pickles)}), which is never opened: "
            "reading a pickle runs whatever code is in it",
            WEIGHTS,
            "convert it with its author's own tools: AutoModelForCausalLM.from_pretrained(...)"
            ".save_pretrained(..., safe_serialization=True)",
            code="model.pickle_only",
        )
    raise CheckpointError(
        f"{folder} has no {WEIGHTS}", "a Hugging Face directory of a GPT-2", code="model.file_missing"
    )


def _read_tensors(path: Path, expected: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The file's tensors under our names, in float32; the stored head, if any, stays for _check_head."""
    tensors = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 (not a dict)
                name = key if key.startswith((_PREFIX, "lm_head.")) else f"{_PREFIX}{key}"
                if name not in expected and _MASKS.fullmatch(name):
                    continue
                shape = expected.get("transformer.wte.weight" if name == "lm_head.weight" else name)
                _check_tensor(path, key, tuple(file.get_slice(key).get_shape()), shape)
                tensors[name] = _widen(path, key, file.get_tensor(key))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing", f"a file that {INDEX} names", code="model.file_missing"
        ) from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}", "a whole safetensors file", code="model.damaged"
        ) from None
    return tensors


def _check_tensor(path: Path, key: str, found: tuple[int, ...], expected: tuple[int, ...] | None) -> None:
    if expected is None:
        raise CheckpointError(
            f"{path} has a tensor {key} that GPT-2 has not",
            f"what {CONFIG} describes",
            code="model.unknown_tensor",
        )
    if found != expected:
        raise CheckpointError(
            f"{path}: {key} has shape {found}", f"{expected}, as {CONFIG} says", code="model.wrong_shape"
        )


def _widen(path: Path, key: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        raise CheckpointError(
            f"{path}: {key} holds {tensor.dtype}", "floating-point numbers", code="model.wrong_dtype"
        )
    # A copy of its own: the file's mapping is aligned otherwise, which may change the last bits of a product.
    return tensor.to(torch.float32, copy=True)


def _check_head(folder: Path, tensors: dict[str, Tensor]) -> None:
    head = tensors.pop("lm_head.weight", None)
    if head is not None and not torch.equal(head, tensors["transformer.wte.weight"]):
        raise CheckpointError(
            f"{folder}: lm_head.weight differs from transformer.wte.weight",
            "the head tied to the embedding",
            code="model.untied_head",
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
