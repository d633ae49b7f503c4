"""The names that columns have in other people's files: Alpaca, Orca, ShareGPT, TRL, OpenAI."""

import dataclasses
import difflib
from collections.abc import Collection

from neogpt.data.sources._rows import Columns
from neogpt.errors import DataError

REQUEST = "instruction_column"
ALIASES = {
    REQUEST: ("prompt", "question", "query"),
    "context_column": ("input", "system_prompt", "system"),
    "response_column": ("output", "answer", "completion", "responses"),
    "messages_column": ("conversations", "conversation"),
}
"""Setting -> names that stand in for its usual one, where that is not there: the first that is."""
_USUAL = {item.name: item.default for item in dataclasses.fields(Columns)}


def resolved(columns: Columns, names: Collection[str]) -> Columns:
    """The same settings for a file with these columns: a name that nobody chose gives way to one of its aliases."""
    changes = {}
    for setting, aliases in ALIASES.items():
        column = getattr(columns, setting)
        found = next((name for name in aliases if name in names), "")
        if found and column == _USUAL[setting] and column not in names:
            changes[setting] = found
    return dataclasses.replace(columns, **changes) if changes else columns


def chosen(columns: Columns) -> dict[str, str]:
    """The columns that somebody named: setting -> name."""
    found = {name: getattr(columns, name) for name in _USUAL if name.endswith("_column")}
    return {name: column for name, column in found.items() if column != _USUAL[name]}


def check_named(columns: Columns, settings: Collection[str], seen: Collection[str]) -> None:
    """DataError (data.no_such_column) for a column that was named and that no row has; the nearest is named."""
    for setting, column in chosen(columns).items():
        if setting in settings and seen and column not in seen:
            usual = [name for name in (_USUAL[setting], *ALIASES.get(setting, ())) if name in seen]
            near = difflib.get_close_matches(column, seen, 1) or usual or sorted(seen)[:1]
            flag = f"--source.{setting.replace('_', '-')}"
            raise DataError(
                f"no row of {columns.path} has a column {column!r} ({flag})",
                f"one of its columns: {', '.join(sorted(seen)[:30])}",
                f"{flag} {near[0]}",
                code="data.no_such_column",
            )


def told(read: Collection[str], seen: Collection[str]) -> str:
    """Which columns are read, and which are not, in a line."""
    kept = [name for name in seen if name in read]
    left = [name for name in seen if name not in read]
    return f"columns read: {', '.join(kept)}" + (f"; not read: {', '.join(left)}" if left else "")
