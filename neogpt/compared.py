"""Two sets of settings, field by field: what a resumed run or prepared data has otherwise."""

from typing import Any

from neogpt.config import flatten


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line for each dotted field whose value differs."""
    before, after = flatten(old), flatten(new)
    return [
        f"{name}: {before.get(name, 'absent')!r} -> {after.get(name, 'absent')!r}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
