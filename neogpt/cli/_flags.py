"""Flags without a value, as every command takes them."""

from collections.abc import Sequence


def bare(args: Sequence[str], *flags: str) -> list[str]:
    """The arguments with `--json True` as `--json`, and without `--json False`: so these were written once."""
    found: list[str] = []
    for arg in args:
        is_value = arg in ("True", "False") and bool(found) and found[-1] in flags
        if not is_value:
            found.append(arg)
        elif arg == "False":
            found.pop()
    return found
