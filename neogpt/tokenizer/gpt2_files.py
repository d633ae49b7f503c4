"""OpenAI's GPT-2 vocabulary files: found on disk or downloaded once, and always checked by sha256."""

from pathlib import Path

from neogpt.errors import DataError
from neogpt.fetch import Published
from neogpt.paths import cache_dir, local_data

URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
SHA256 = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
_ALIASES = {"encoder.json": "vocab.json", "vocab.bpe": "merges.txt"}  # Hugging Face's names, the same bytes
_HINT = "put encoder.json and vocab.bpe into DIR/tokenizer and set NEOGPT_DATA=DIR"


def locate(folder: Path | None = None) -> tuple[Path, Path]:
    """The paths of encoder.json and vocab.bpe: in `folder`, NEOGPT_DATA/tokenizer, the cache, or downloaded.

    A `folder` that is named must have the right files. DataError when a file is wrong or cannot be had.
    """
    encoder, merges = (_locate(name, folder) for name in SHA256)
    return encoder, merges


def _published(name: str) -> Published:
    return Published(f"OpenAI's {name}", f"{URL}/{name}", SHA256[name], _HINT)


def _locate(name: str, folder: Path | None) -> Path:
    if folder is not None:
        return _checked(folder, name) or _absent(folder, name)
    data = local_data()
    if data and (found := _checked(data / "tokenizer", name)):
        return found
    return _published(name).cached(cache_dir() / "tokenizer" / "gpt2" / name)


def _checked(folder: Path, name: str) -> Path | None:
    """The file in `folder`, by either of its names; None when absent, DataError when it is another file."""
    for path in (folder / name, folder / _ALIASES[name]):
        if path.is_file():
            _published(name).check(path.read_bytes(), str(path))
            return path
    return None


def _absent(folder: Path, name: str) -> Path:
    raise DataError(
        f"{folder} has no {name} (nor {_ALIASES[name]})",
        "GPT-2's encoder.json and vocab.bpe",
        code="tokenizer.file_missing",
    )
