"""Where a study's figures go: NAME.json and NAME.html in a folder, each whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neogpt import atomic
from neogpt.errors import DataError


def write(out: Path, name: str, figures: Mapping[str, Any], page: str | None = None) -> list[Path]:
    """Write the figures, and the page where there is one; returns the files.

    Errors: DataError (study.cannot_write) where the folder cannot be written to.
    """
    files = {f"{name}.json": (json.dumps(figures, indent=2) + "\n").encode()}
    if page is not None:
        files = {f"{name}.html": page.encode(), **files}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            atomic.write_bytes(out / file, data)
    except OSError as error:
        raise DataError(
            f"the study cannot be written to {out}: {error.strerror}",
            "a folder to write in",
            "--out DIR",
            code="study.cannot_write",
        ) from None
    return [out / file for file in files]
