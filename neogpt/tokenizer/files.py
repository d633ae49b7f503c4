"""Tokenizer files: a byte-level BPE as `tokenizer.json` and `tokenizer_config.json`, and read back.

The form is Hugging Face's, so transformers and what else reads `tokenizer.json` load the folder as it stands.
(llama.cpp does not: its converter knows vocabularies by a hash of ids, and a trained one is none of them; `neogpt
export` writes it a file.) What is written is canonical: the same vocabulary and merges always give the same bytes.
"""

import json
from pathlib import Path
from typing import Any

from neogpt import atomic
from neogpt.errors import DataError
from neogpt.tokenizer.alphabet import END_OF_TEXT
from neogpt.tokenizer.tables import BPE, CONFIG, KIND, TOKENIZER, parse_merges, parse_vocab, read_json
from neogpt.tokenizer.template import chat_template


def to_json(bpe: BPE) -> str:
    """The canonical text of tokenizer.json: tokens in the order of their ids, merges in the order of rank."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    special = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": bpe.vocab[END_OF_TEXT], "content": END_OF_TEXT, **special}],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": byte_level | {"trim_offsets": False},
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": dict(sorted(bpe.vocab.items(), key=lambda item: item[1])),
            "merges": [f"{left} {right}" for left, right in bpe.merges],
        },
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def config(n_positions: int) -> dict[str, Any]:
    """The content of tokenizer_config.json; no padding token, as in GPT-2."""
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": END_OF_TEXT,
        "chat_template": chat_template(),
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TEXT,
        "errors": "replace",
        "model_max_length": n_positions,
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": END_OF_TEXT,
    }


def write(folder: Path, bpe: BPE, n_positions: int) -> None:
    """Write both files into `folder`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_text(folder / TOKENIZER, to_json(bpe))
    atomic.write_json(folder / CONFIG, config(n_positions))


def read(path: Path) -> BPE:
    """The BPE in a folder (tokenizer.json, else vocab.json + merges.txt) or in a tokenizer.json itself."""
    if path.is_dir() and not (path / TOKENIZER).exists():
        for vocab, merges in (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")):
            if (path / vocab).exists() and (path / merges).exists():
                return BPE(parse_vocab(path / vocab), parse_merges(path / merges))
    file = path / TOKENIZER if path.is_dir() else path
    content = read_json(file)
    _check_kind(file, content)
    try:
        model = content["model"]
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        return BPE(dict(model["vocab"]), [(str(left), str(right)) for left, right in pairs])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is damaged: {error!r}", KIND, code="tokenizer.damaged") from None


def _check_kind(file: Path, content: dict[str, Any]) -> None:
    """DataError unless the file means exactly what `to_json` writes, so that ids agree with every reader."""
    model, pre, added = content.get("model"), content.get("pre_tokenizer"), content.get("added_tokens")
    wrong = ""
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        wrong = "its model is not BPE"
    elif not isinstance(pre, dict) or pre.get("type") != "ByteLevel" or not pre.get("use_regex", True):
        wrong = "its text is not split as GPT-2 splits it"
    elif pre.get("add_prefix_space"):
        wrong = "it puts a space before each text"
    elif content.get("normalizer"):
        wrong = "it changes the text before encoding it"
    elif any(model.get(key) for key in ("dropout", "byte_fallback", "ignore_merges")):
        wrong = "it uses dropout, byte_fallback or ignore_merges"
    elif [token.get("content") for token in added or [{}]] != [END_OF_TEXT]:
        wrong = f"its special tokens are not {END_OF_TEXT} alone"
    if wrong:
        raise DataError(
            f"{file} cannot be used: {wrong}",
            f"{KIND}, with {END_OF_TEXT} its only special token",
            code="tokenizer.unusable",
        )
