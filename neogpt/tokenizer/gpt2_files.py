"""OpenAI's GPT-2 vocabulary files: found on disk or downloaded once, and always checked by sha256."""

import hashlib
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from neogpt import atomic
from neogpt.errors import DataError
from neogpt.paths import cache_dir, is_offline, local_data

URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
SHA256 = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
_ALIASES = {"encoder.json": "vocab.json", "vocab.bpe": "merges.txt"}  # Hugging Face's names, the same bytes
_HINT = "put encoder.json and vocab.bpe into DIR/tokenizer and set NEOGPT_DATA=DIR"
_TIMEOUT_S = 60
_LIMIT_BYTES = 16 * 2**20


def locate(folder: Path | None = None) -> tuple[Path, Path]:
    """The paths of encoder.json and vocab.bpe: in `folder`, NEOGPT_DATA/tokenizer, the cache, or downloaded.

    A `folder` that is named must have the right files. DataError when a file is wrong or cannot be had.
    """
    encoder, merges = (_locate(name, folder) for name in SHA256)
    return encoder, merges


def _locate(name: str, folder: Path | None) -> Path:
    if folder is not None:
        return _checked(folder, name) or _absent(folder, name)
    data = local_data()
    if data and (found := _checked(data / "tokenizer", name)):
        return found
    cached = cache_dir() / "tokenizer" / "gpt2" / name
    if cached.exists() and atomic.sha256_file(cached) == SHA256[name]:
        return cached
    return _download(name, cached)


def _checked(folder: Path, name: str) -> Path | None:
    """The file in `folder`, by either of its names; None when absent, DataError when it is another file."""
    for path in (folder / name, folder / _ALIASES[name]):
        if path.is_file():
            _check(path.read_bytes(), name, str(path))
            return path
    return None


def _check(content: bytes, name: str, place: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[name]:
        raise DataError(
            f"{place} is not OpenAI's {name}: {len(content)} bytes, sha256 {digest}", f"sha256 {SHA256[name]}"
        )


def _absent(folder: Path, name: str) -> Path:
    raise DataError(f"{folder} has no {name} (nor {_ALIASES[name]})", "GPT-2's encoder.json and vocab.bpe")


def _download(name: str, target: Path) -> Path:
    url = f"{URL}/{name}"
    if is_offline():
        raise DataError(
            f"GPT-2's {name} is not here, and NEOGPT_OFFLINE or HF_HUB_OFFLINE forbids the network",
            f"the file at {target}",
            _HINT,
        )
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            content: bytes = response.read(_LIMIT_BYTES)
    except (OSError, HTTPException) as error:  # OSError: no network, refused, timed out, HTTP status
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        raise DataError(f"cannot download {url}: {error}", f"the file at {target}", _HINT) from None
    _check(content, name, url)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(target, content)
    return target
