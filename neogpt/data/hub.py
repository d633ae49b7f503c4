"""Data sets of the Hugging Face Hub as local files: `hf://datasets/OWNER/NAME`, or a file or folder in it."""

import re
from collections.abc import Sequence
from pathlib import Path

from neogpt.errors import ConfigError, DataError
from neogpt.paths import is_offline

PREFIX = "hf://"
_PLACE = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)(?:/(.+))?")


def fetch(place: str, suffixes: Sequence[str]) -> Path:
    """The local copy of a data set, or of the file or folder of it that is named; downloaded once, then cached.

    Only files that end in one of `suffixes` are downloaded. Errors: DataError where it cannot be had.
    """
    match = _PLACE.fullmatch(place)
    if not match:
        raise ConfigError(
            f"{place} names no data set",
            "hf://datasets/OWNER/NAME or hf://datasets/OWNER/NAME/FILE",
            code="data.bad_name",
        )
    name, inside = match[1], match[2] or ""
    from huggingface_hub import snapshot_download  # extra: data
    from huggingface_hub.errors import HfHubHTTPError

    stem = inside.rstrip("/")
    patterns = [stem, *(f"{stem}/*{suffix}" for suffix in suffixes)] if stem else [f"*{s}" for s in suffixes]
    try:
        folder = snapshot_download(
            name, repo_type="dataset", allow_patterns=patterns, local_files_only=is_offline()
        )
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise DataError(
            f"the data set {name} is not on this disk and could not be downloaded: {type(error).__name__}",
            "a connection to the Hugging Face Hub, or a local copy",
            "--source.path with the file's name",
            code="data.not_downloaded",
        ) from error
    return Path(folder) / stem
