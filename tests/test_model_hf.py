"""Hugging Face directories: transformers reads ours, we read theirs, and what is not GPT-2 is refused by name."""

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from neogpt.config import GPT2Config
from neogpt.errors import CheckpointError
from neogpt.model import GPT2, load_pretrained, save_pretrained

CONFIG = GPT2Config(n_layer=2, n_head=4, n_embd=32, n_positions=21, vocab_size=67)
WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_pretrained(GPT2(CONFIG, seed=2), tmp_path / "model", eot_id=3)
    return tmp_path / "model"


def same(a: GPT2, b: GPT2) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_through_transformers_and_back_is_the_identity(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    theirs, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    theirs.save_pretrained(tmp_path / "theirs")
    back = load_pretrained(tmp_path / "theirs")
    assert same(back, GPT2(CONFIG, seed=2))
    assert back.config == CONFIG
    save_pretrained(back, tmp_path / "again", eot_id=3)
    for name in ("config.json", "generation_config.json", WEIGHTS):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_loads_ready_to_use_and_to_train(folder: Path) -> None:
    model = load_pretrained(folder)
    assert not model.training
    assert all(p.requires_grad and p.dtype == torch.float32 and p.is_leaf for p in model.parameters())
    model(torch.tensor([[1, 2, 3]])).sum().backward()


def test_files_say_what_other_programs_ask(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    asked = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_ctx": 21, "n_positions": 21, "n_embd": 32,
        "n_layer": 2, "n_head": 4, "n_inner": None, "vocab_size": 67, "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "bos_token_id": 3, "eos_token_id": 3,
        "dtype": "float32",
    }  # fmt: skip
    assert config | asked == config
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 3
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        # The names of OpenAI's own files, which every reader knows; mlx-lm refuses `transformer.` before them.
        assert {f"transformer.{name}" for name in file.keys()} == GPT2(CONFIG).state_dict().keys()  # noqa: SIM118
        assert file.get_slice("h.1.attn.c_attn.weight").get_shape() == [32, 96]


def test_end_of_text_is_gpt2s_for_gpt2s_vocabulary_and_unknown_else(tmp_path: Path) -> None:
    small = GPT2Config(n_layer=1, n_head=1, n_embd=2, n_positions=4, vocab_size=50257)
    for config, eot in ((small, 50256), (CONFIG, None)):
        save_pretrained(GPT2(config), tmp_path)
        assert json.loads((tmp_path / "config.json").read_text())["eos_token_id"] == eot


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o007])
def test_file_modes_follow_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        save_pretrained(GPT2(CONFIG), tmp_path / "model")
    finally:
        os.umask(before)
    for path in (tmp_path / "model").iterdir():
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask, path.name


def test_saving_again_replaces_and_leaves_nothing_behind(folder: Path) -> None:
    save_pretrained(GPT2(CONFIG, seed=9), folder)
    assert same(load_pretrained(folder), GPT2(CONFIG, seed=9))
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "generation_config.json", WEIGHTS]


def test_a_full_disk_keeps_the_old_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: Any, path: Path, **_: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("neogpt.model.hf.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(GPT2(CONFIG, seed=9), folder)
    assert same(load_pretrained(folder), GPT2(CONFIG, seed=2))
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "generation_config.json", WEIGHTS]


def rewrite(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return apply


def configure(**values: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return apply


def prefixed(tensors: dict[str, torch.Tensor]) -> None:
    """As transformers' GPT2LMHeadModel saves them, and NeoGPT did before."""
    for name in list(tensors):
        tensors[f"transformer.{name}"] = tensors.pop(name)


def old_masks(tensors: dict[str, torch.Tensor]) -> None:
    for i in range(2):
        tensors[f"h.{i}.attn.bias"] = torch.ones(1, 1, 21, 21)
        tensors[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)


def tied_head(tensors: dict[str, torch.Tensor]) -> None:
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()


def in_two_files(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(tensors)
    place = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(place.values()):
        save_file({name: tensors[name] for name in names if place[name] == file}, folder / file)
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))


@pytest.mark.parametrize(
    "change",
    [rewrite(prefixed), rewrite(old_masks), rewrite(tied_head), in_two_files, configure(attn_pdrop=0.1, n_ctx=None)],
    ids=["prefixed", "old masks", "tied head", "two files", "dropout"],
)  # fmt: skip
def test_other_forms_of_the_same_model_load(change: Callable[[Path], None], folder: Path) -> None:
    change(folder)
    assert same(load_pretrained(folder), GPT2(CONFIG, seed=2))


def test_half_precision_is_widened(folder: Path) -> None:
    rewrite(lambda tensors: tensors.update({k: v.bfloat16() for k, v in tensors.items()}))(folder)
    model = load_pretrained(folder)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    expected = GPT2(CONFIG, seed=2).transformer.wte.weight.bfloat16().float()
    assert torch.equal(model.transformer.wte.weight, expected)


WTE, FC = "wte.weight", "h.1.mlp.c_fc.weight"
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (shutil.rmtree, r"has no config\.json"),
    "no config": (lambda f: (f / "config.json").unlink(), r"has no config\.json"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), r"has no model\.safetensors"),
    "torn config": (lambda f: (f / "config.json").write_text('{"model_type": "gp'), "is not JSON"),
    "list": (lambda f: (f / "config.json").write_text("[]"), "holds a list"),
    "other model": (configure(model_type="llama"), r"model_type is 'llama'(.|\n)*'gpt2'"),
    "no model type": (configure(model_type=None), "model_type is None"),
    "activation": (configure(activation_function="relu"), "activation_function is 'relu'"),
    "exact gelu": (configure(activation_function="gelu"), "activation_function is 'gelu'"),
    "epsilon": (configure(layer_norm_epsilon=1e-6), "layer_norm_epsilon is 1e-06"),
    "scale": (configure(scale_attn_weights=False), "scale_attn_weights is False"),
    "inverse": (configure(scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse_layer_idx is True"),
    "cross attention": (configure(add_cross_attention=True), "add_cross_attention is True"),
    "untied": (configure(tie_word_embeddings=False), "tie_word_embeddings is False"),
    "quantized": (configure(quantization_config={"bits": 4}), "quantization_config is"),
    "inner": (configure(n_inner=100), "n_inner is 100"),
    "layers": (configure(n_layer="two"), "n_layer is 'two'"),
    "heads": (configure(n_head=5), "does not divide into n_head 5"),
    "more layers": (configure(n_layer=3), r"lacks transformer\.h\.2\.attn\.c_attn\.bias.*8 more"),
    "fewer layers": (configure(n_layer=1), r"has a tensor h\.1\..*that GPT-2 has not"),
    "vocabulary": (configure(vocab_size=68), r"wte\.weight has shape \(67, 32\)(.|\n)*\(68, 32\)"),
    "missing": (rewrite(lambda t: t.pop(FC)), rf"lacks transformer\.{re.escape(FC)}"),
    "extra": (rewrite(lambda t: t.update(spare=torch.ones(1))), "has a tensor spare that GPT-2 has not"),
    "transposed": (rewrite(lambda t: t.update({FC: t[FC].t().contiguous()})), r"c_fc\.weight has shape \(128, 32\)"),
    "integers": (rewrite(lambda t: t.update({WTE: t[WTE].int()})), r"wte\.weight holds torch\.int32"),
    "other head": (rewrite(lambda t: t.update({"lm_head.weight": t[WTE] + 1})), "lm_head.weight differs"),
    "torn weights": (lambda f: os.truncate(f / WEIGHTS, 5000), "cannot be read"),
    "empty weights": (lambda f: os.truncate(f / WEIGHTS, 0), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_by_name(name: str, folder: Path) -> None:
    change, message = REFUSED[name]
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(folder)


def test_refuses_an_index_that_leads_outside_or_to_nothing(folder: Path) -> None:
    from neogpt.errors import NeoGPTError

    in_two_files(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors is missing"):
        load_pretrained(folder)
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": {WTE: "../../etc/passwd"}}))
    with pytest.raises(NeoGPTError, match="leads outside"):
        load_pretrained(folder)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_a_pickle_in_the_weights_place_is_refused_and_nothing_runs(
    name: str, folder: Path, tmp_path: Path
) -> None:
    (folder / WEIGHTS).unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(CheckpointError, match=rf"pickle \({re.escape(name)}\)(.|\n)*runs whatever code"):
        load_pretrained(folder)
    assert not (tmp_path / "boom").exists()
    (folder / name).rename(folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_pretrained(folder)
    assert not (tmp_path / "boom").exists()
