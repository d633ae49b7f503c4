"""What the commands of the studies share."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neogpt.errors import ConfigError


def command_line(study: str, args: Sequence[str]) -> str:
    """The command as it can be typed again; it stands in what it wrote."""
    return shlex.join(["neogpt", "study", study, *args])


def check_limit(limit: int | None) -> None:
    """ConfigError (study.bad_count) unless the limit is None or at least 1."""
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit is {limit}", "1 or more", code="study.bad_count")


def need(models: Sequence[str], count: int, what: str, example: str) -> None:
    """ConfigError (study.no_model) when fewer are named."""
    if len(models) < count:
        raise ConfigError(f"{len(models)} of {count} {what} named", what, example, code="study.no_model")


def finish(
    out: Path, name: str, figures: Mapping[str, Any], page: str, as_json: bool, lines: Sequence[str]
) -> None:
    """Write the study; print its figures as JSON, or its lines and the files."""
    from neogpt.studies.output import write  # start-up time

    written = write(out, name, figures, page)
    if as_json:
        print(json.dumps(figures, indent=2))
        return
    for line in lines:
        print(line)
    for path in written:
        print(f"wrote {path}")


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text with aligned columns."""
    lines = [list(heads), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return [
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
