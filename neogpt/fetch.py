"""Files with a published address: downloaded once into the cache, and always checked by sha256."""

import hashlib
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from neogpt import atomic
from neogpt.errors import DataError
from neogpt.paths import is_offline

_TIMEOUT_S = 60
_LIMIT_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Published:
    """A file as its publisher has it."""

    title: str
    """What it is, in a sentence: "OpenAI's vocab.bpe"."""
    url: str
    sha256: str
    hint: str
    """What to do where it cannot be downloaded."""

    def check(self, content: bytes, place: str) -> None:
        """DataError unless `content`, found at `place`, is this file."""
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.sha256:
            raise DataError(
                f"{place} is not {self.title}: {len(content)} bytes, sha256 {digest}",
                f"sha256 {self.sha256}",
                code="data.wrong_checksum",
            )

    def cached(self, target: Path) -> Path:
        """`target` with the file in it: as an earlier call left it, else downloaded.

        Errors: DataError when the network is forbidden, or fails, or gives another file. Several processes may
        ask at once; each finds a whole file.
        """
        if target.exists() and atomic.sha256_file(target) == self.sha256:
            return target
        if is_offline():
            raise DataError(
                f"{self.title} is not here, and NEOGPT_OFFLINE or HF_HUB_OFFLINE forbids the network",
                f"the file at {target}",
                self.hint,
                code="data.not_cached",
            )
        content = self._download(target)
        self.check(content, self.url)
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(target, content)
        return target

    def _download(self, target: Path) -> bytes:
        try:
            with urllib.request.urlopen(self.url, timeout=_TIMEOUT_S) as response:
                content: bytes = response.read(_LIMIT_BYTES)
        except (OSError, HTTPException) as error:  # OSError: no network, refused, timed out, HTTP status
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it holds the connection
            raise DataError(
                f"cannot download {self.url}: {error}",
                f"the file at {target}",
                self.hint,
                code="data.not_downloaded",
            ) from None
        return content
