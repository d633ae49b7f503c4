"""The tokenizer that a run's settings name; a `trained` one is made once from the source's own text."""

from collections.abc import Iterator
from pathlib import Path

from neogpt import atomic, plugins
from neogpt.config import DataConfig, SourceConfig, digest
from neogpt.data import fingerprint
from neogpt.paths import cache_dir
from neogpt.records import RowStats
from neogpt.tokenizer import Tokenizer

_SAMPLE_CHARACTERS = 200_000_000
"""Text that a tokenizer is trained on at most; more changes hardly a merge."""


def tokenizer_for(data: DataConfig, source_name: str, source: SourceConfig) -> Tokenizer:
    """GPT-2's own (`gpt2`), one trained on the source (`trained`), or the one in a folder."""
    if data.tokenizer == "gpt2":
        return Tokenizer.gpt2()
    if data.tokenizer != "trained":
        return Tokenizer.load(data.tokenizer)
    source = fingerprint.resolved(source_name, source)
    parts = plugins.get("neogpt.data.sources", source_name).parts(source)
    facts = {"settings": fingerprint.settings(source_name, source), "vocab_size": data.vocab_size}
    key = digest({**facts, "inputs": fingerprint.inputs(source_name, source, parts)})
    folder = cache_dir() / "tokenizers" / f"{source_name}-{key[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic.lock(folder.with_suffix(".lock"), f"the tokenizer {folder.name}", wait=True):
        if not (folder / atomic.MANIFEST).exists():
            _train(folder, data, source_name, source)
    return Tokenizer.load(folder)


def _train(folder: Path, data: DataConfig, source_name: str, source: SourceConfig) -> None:
    module = plugins.get("neogpt.data.sources", source_name)
    words = module.whole_words(source) if hasattr(module, "whole_words") else []
    tokenizer = Tokenizer.train(_texts(source_name, source), data.vocab_size, whole_words=words)
    with atomic.directory(folder) as temporary:
        tokenizer.save(temporary)


def _texts(source_name: str, source: SourceConfig) -> Iterator[str]:
    module = plugins.get("neogpt.data.sources", source_name)
    bad, left = RowStats(), _SAMPLE_CHARACTERS
    for part in module.parts(source):
        for document in module.documents(source, part, bad):
            yield document.text
            left -= len(document.text)
            if left <= 0:
                return
