"""Prepared data is what its manifest says: every file's sha256, checked while training begins.

Opening looks at headers and sizes, and ids beyond the vocabulary are noticed where they are read; another id in the
place of the right one would be learnt from without a word.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

from neogpt import atomic
from neogpt.errors import DataError
from neogpt.train.monitors.base import Monitor

_AT_ONCE_BYTES = 64 << 20
"""Up to so much is hashed before the first step (some tenths of a second); more on a thread beside the training."""


class DataIntegrityCheck(Monitor):
    """Hashes the files of these folders; an error is raised here at once, or by `verdict` once it was found."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._error: DataError | None = None
        # A daemon: a run that ends early does not wait for it. hashlib works without holding Python's lock.
        self._thread = threading.Thread(target=self._work, args=(folders,), name="sha256", daemon=True)
        self._thread.start()
        if sum(map(_size, folders)) <= _AT_ONCE_BYTES:
            self.verdict(is_last=True)

    def verdict(self, is_last: bool = False) -> bool:
        """DataError for a damaged file that was found so far; before the last step, after all have been read."""
        if is_last:
            self._thread.join()
        if self._error:
            raise self._error
        return False

    def _work(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            try:
                atomic.verify_manifest(folder)
            except DataError as error:
                self._error = DataError(
                    error.what,
                    error.expected,
                    f"`neogpt data verify {folder}`, then delete that folder and have it prepared again",
                    code="data.damaged_shard",
                )
                return


def _size(folder: Path) -> int:
    """Bytes that the manifest lists."""
    return sum(size for size, _ in atomic.read_manifest(folder).values())
