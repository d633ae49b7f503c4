"""The tokenizer that a run's settings name; a `trained` one is made once from the source's own text."""

from collections.abc import Iterator
from pathlib import Path

from neogpt import atomic
from neogpt.config import DataConfig, digest
from neogpt.data import fingerprint
from neogpt.data.source import HasDocuments, Source, need
from neogpt.paths import cache_dir
from neogpt.records import RowStats
from neogpt.tokenizer import Tokenizer

_SAMPLE_CHARACTERS = 200_000_000
"""Text that a tokenizer is trained on at most; more changes hardly a merge."""


def tokenizer_for(data: DataConfig, source: Source) -> Tokenizer:
    """GPT-2's own (`gpt2`), one trained on the source (`trained`), or the one in a folder."""
    if data.tokenizer == "gpt2":
        return Tokenizer.gpt2()
    if data.tokenizer != "trained":
        return Tokenizer.load(data.tokenizer)
    text = need(source, HasDocuments, "--data.tokenizer gpt2")
    return _trained(data, fingerprint.resolved(text))


def _trained(data: DataConfig, source: HasDocuments) -> Tokenizer:
    facts = {"settings": fingerprint.settings(source), "vocab_size": data.vocab_size}
    key = digest({**facts, "inputs": fingerprint.inputs(source, source.parts())})
    folder = cache_dir() / "tokenizers" / f"{source.kind}-{key[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic.lock(folder.with_suffix(".lock"), f"the tokenizer {folder.name}", wait=True):
        if not (folder / atomic.MANIFEST).exists():
            _train(folder, data, source)
    return Tokenizer.load(folder)


def _train(folder: Path, data: DataConfig, source: HasDocuments) -> None:
    tokenizer = Tokenizer.train(_texts(source), data.vocab_size, whole_words=source.whole_words())
    with atomic.directory(folder) as temporary:
        tokenizer.save(temporary)


def _texts(source: HasDocuments) -> Iterator[str]:
    bad, left = RowStats(), _SAMPLE_CHARACTERS
    for part in source.parts():
        for document in source.documents(part, bad):
            yield document.text
            left -= len(document.text)
            if left <= 0:
                return
