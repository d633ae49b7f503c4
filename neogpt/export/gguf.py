"""A model as one GGUF file, as llama.cpp and what is built on it (Ollama, LM Studio) load it.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The file holds weights, vocabulary, merges,
chat template and the card's fields. Matrices are stored (out, in), so each is transposed on the way; LayerNorms,
biases and the position embedding stay in float32, as llama.cpp's own converter keeps them. The head is tied: it is
not stored.

`gguf` (the extra `export`) is optional and imported inside the functions that need it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from neogpt import atomic
from neogpt.errors import CheckpointError, ConfigError
from neogpt.export.bundle import ModelBundle
from neogpt.model.gpt2 import LAYER_NORM_EPS

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

Dtype = Literal["f32", "f16", "bf16", "q8_0"]
Array = npt.NDArray[np.float32]

PRE_TOKENIZER = "gpt-2"
"""llama.cpp's name for GPT-2's way of cutting text into words, which every tokenizer of ours has."""
_LARGEST_F16 = 65504.0
_GLOBAL = {
    "transformer.wte.weight": "token_embd.weight",
    "transformer.wpe.weight": "position_embd.weight",
    "transformer.ln_f.weight": "output_norm.weight",
    "transformer.ln_f.bias": "output_norm.bias",
}
_BLOCK = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as the file holds it."""

    name: str
    shape: tuple[int, ...]
    """As numpy has it: rows first."""
    dtype: str
    """f32, f16, bf16 or q8_0."""
    reason: str = ""
    """Why it is not of the type asked for; "" where it is, or is one that always stays in float32."""


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    file: Path
    n_bytes: int
    tensors: tuple[StoredTensor, ...]
    notes: tuple[str, ...] = ()

    @property
    def fallbacks(self) -> tuple[StoredTensor, ...]:
        """Tensors that the type asked for could not hold."""
        return tuple(tensor for tensor in self.tensors if tensor.reason)


def write(bundle: ModelBundle, file: Path, dtype: Dtype = "f32") -> Exported:
    """Write `bundle` as a GGUF file, whole or not at all; the same bundle gives the same bytes.

    `dtype` is that of the matrices: f32 (nothing is lost), f16, bf16, or q8_0 (blocks of 32 numbers a row, each an
    int8 times the block's float16). A matrix that q8_0 cannot hold (rows that are no multiple of 32) is stored as f16,
    one that f16 cannot hold (numbers beyond 65,504) as f32; `Exported.fallbacks` names them.

    Errors: ConfigError `export.package` without the package gguf, `export.dtype`; CheckpointError
    `export.no_merges` for a vocabulary without merges, which llama.cpp cannot load, `export.not_finite` for weights
    with NaN or infinities, `export.disk` when the disk refuses.
    """
    check_package()
    if dtype not in get_args(Dtype):
        raise ConfigError(f"dtype is {dtype!r}", f"one of {', '.join(get_args(Dtype))}", code="export.dtype")
    _check_merges(bundle)
    stored = tuple(_stored(name, array, dtype) for name, array in _arrays(bundle))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacement(file) as temporary:
            _write(bundle, stored, temporary, dtype)
        return Exported(file, file.stat().st_size, stored, bundle.card.notes)
    except OSError as error:
        raise CheckpointError(
            f"{file} could not be written: {error.strerror or error}",
            "a folder that you may write to, with room for the file",
            "another --out, or free some space",
            code="export.disk",
        ) from error


def check_package() -> None:
    """ConfigError `export.package` unless the package gguf can be imported."""
    try:
        import gguf  # noqa: F401  (extra: export)
    except ImportError:
        raise ConfigError(
            "the package gguf is not installed",
            "the extra `export`",
            "pip install 'neogpt[export]'",
            code="export.package",
        ) from None


def tensor_name(name: str) -> str:
    """GGUF's name for one of GPT-2's parameters: `blk.0.attn_qkv.weight` for `transformer.h.0.attn.c_attn.weight`."""
    if name in _GLOBAL:
        return _GLOBAL[name]
    _, _, layer, rest = name.split(".", 3)
    module, _, kind = rest.rpartition(".")
    return f"blk.{layer}.{_BLOCK[module]}.{kind}"


def _check_merges(bundle: ModelBundle) -> None:
    if not bundle.tokenizer.bpe.merges:
        raise CheckpointError(
            f"the vocabulary in {bundle.folder} has no merges: each byte is a token",
            "a byte-level BPE with at least one merge; llama.cpp cannot load one without",
            "train with a larger vocabulary, as in --data.vocab-size 1024",
            code="export.no_merges",
        )


def _arrays(bundle: ModelBundle) -> Iterator[tuple[str, Array]]:
    """Each parameter under GGUF's name, as (out, in) where it is a matrix; float32, C-contiguous."""
    for name, tensor in bundle.model.state_dict().items():
        array = tensor.detach().float().cpu().numpy()
        is_linear = array.ndim == 2 and name.startswith("transformer.h.")
        yield tensor_name(name), np.ascontiguousarray(array.T if is_linear else array)


def _stored(name: str, array: Array, dtype: Dtype) -> StoredTensor:
    """How the file shall hold a tensor."""
    largest = float(np.abs(array).max())
    if not np.isfinite(largest):
        raise CheckpointError(
            f"{name} holds NaN or infinite numbers",
            "finite weights",
            "an earlier checkpoint of the run",
            code="export.not_finite",
        )
    if array.ndim == 1 or name == "position_embd.weight":
        return StoredTensor(name, array.shape, "f32")
    found: str = dtype
    reasons = []
    if found == "q8_0" and array.shape[1] % 32:
        found = "f16"
        reasons.append(f"a row has {array.shape[1]} numbers, which is no multiple of 32")
    if found == "f16" and largest > _LARGEST_F16:
        found = "f32"
        reasons.append(f"it holds {largest:.4g}, and f16 ends at {_LARGEST_F16:,.0f}")
    return StoredTensor(name, array.shape, found, "; ".join(reasons))


def _write(bundle: ModelBundle, stored: tuple[StoredTensor, ...], file: Path, dtype: Dtype) -> None:
    """Header and tensors; weights go through memory one at a time."""
    import gguf  # extra: export

    writer = gguf.GGUFWriter(file, "gpt2")
    try:
        _add_shape(writer, bundle, stored, dtype)
        _add_vocabulary(writer, bundle)
        for tensor in stored:
            kind = _type(tensor.dtype)
            n_bytes = int(np.prod(gguf.quant_shape_to_byte_shape(tensor.shape, kind)))
            writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), n_bytes, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor, (_, array) in zip(stored, _arrays(bundle), strict=True):
            writer.write_tensor_data(gguf.quantize(array, _type(tensor.dtype)))
    finally:
        writer.close()


def _type(dtype: str) -> "GGMLQuantizationType":
    import gguf  # extra: export

    return gguf.GGMLQuantizationType[dtype.upper()]


def _add_shape(
    writer: "GGUFWriter", bundle: ModelBundle, stored: tuple[StoredTensor, ...], dtype: Dtype
) -> None:
    """The card's fields, and the numbers from which a reader builds the model."""
    import gguf  # extra: export

    config, card = bundle.model.config, bundle.card
    n_parameters = sum(int(np.prod(tensor.shape)) for tensor in stored)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(card.name)
    writer.add_description(card.description)
    writer.add_license(card.license)
    writer.add_tags(card.tags)
    writer.add_languages(card.languages)
    writer.add_size_label(gguf.size_label(n_parameters, n_parameters, 0, 0))
    _add_origins(writer, bundle)
    writer.add_block_count(config.n_layer)
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(LAYER_NORM_EPS)
    kind = "ALL_F32" if dtype == "f32" else f"MOSTLY_{dtype.upper()}"
    writer.add_file_type(gguf.LlamaFileType[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_origins(writer: "GGUFWriter", bundle: ModelBundle) -> None:
    bases, datasets = bundle.card.base_models, bundle.card.datasets
    if bases:
        writer.add_base_model_count(len(bases))
    for i, name in enumerate(bases):
        writer.add_base_model_name(i, name)
        writer.add_base_model_repo_url(i, f"https://huggingface.co/{name}")
    if datasets:
        writer.add_dataset_count(len(datasets))
    for i, name in enumerate(datasets):
        writer.add_dataset_name(i, name)
        writer.add_dataset_repo_url(i, f"https://huggingface.co/datasets/{name}")


def _add_vocabulary(writer: "GGUFWriter", bundle: ModelBundle) -> None:
    """Tokens by id, merges by rank, end-of-text, and the chat template.

    `add_bos_token`: a prompt begins with end-of-text, as every document in training and as `neogpt generate` has it.
    llama.cpp takes the one that the chat template writes for the same. Ids of the model that the tokenizer lacks stand
    as unused tokens.
    """
    import gguf  # extra: export

    tokenizer = bundle.tokenizer
    vocab, merges = tokenizer.bpe
    n_unused = range(tokenizer.vocab_size, bundle.model.config.vocab_size)
    types = [gguf.TokenType.NORMAL] * tokenizer.vocab_size + [gguf.TokenType.UNUSED] * len(n_unused)
    types[tokenizer.eot_id] = gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list([*sorted(vocab, key=vocab.__getitem__), *(f"[PAD{i}]" for i in n_unused)])
    writer.add_token_types(types)
    writer.add_token_merges([f"{left} {right}" for left, right in merges])
    writer.add_bos_token_id(tokenizer.eot_id)
    writer.add_eos_token_id(tokenizer.eot_id)
    writer.add_pad_token_id(tokenizer.eot_id)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    if bundle.chat_template:
        writer.add_chat_template(bundle.chat_template)
