"""Which checkpoints stay on the disk, and whether it has room for those to come."""

from collections.abc import Iterable

from neogpt.config import SaveConfig


def kept_steps(found: Iterable[int], best: int | None, config: SaveConfig) -> list[int]:
    """Of the steps `found`: the last few, each at a multiple of `keep_every`, and the best."""
    ordered = sorted(found)
    last = ordered[-max(1, config.keep_last) :]
    every = [step for step in ordered if config.keep_every and step % config.keep_every == 0]
    return sorted({*last, *every, *([best] if best is not None else [])})


def checkpoints_to_come(found: Iterable[int], config: SaveConfig, step: int, steps: int) -> int:
    """How many more checkpoints than those of the steps `found` will lie on the disk at once, at the most.

    A new one is written before old ones go; the oldest is taken for the best, which stays.
    """
    present = sorted(found)
    now = most = len(present)
    later = (
        range(step - step % config.every + config.every, steps, config.every) if config.every else range(0)
    )
    for save in [*later, *([steps] if steps > step else [])]:
        present = sorted({*present, save})
        most = max(most, len(present))
        present = kept_steps(present, present[0] if config.keep_best else None, config)
    return most - now


def warning(free_bytes: int, one_bytes: int, more: int) -> str:
    """What to say when `more` checkpoints of `one_bytes` each do not fit; empty when they do."""
    if free_bytes >= more * one_bytes:
        return ""
    unit, size = ("GB", 1e9) if more * one_bytes > 1e9 else ("MB", 1e6)
    need, free = more * one_bytes / size, free_bytes / size
    return (
        f"the disk has {free:.1f} {unit} left, and the saves to come need about {need:.1f} {unit} "
        f"({more} checkpoints more than now): free some space, or keep fewer (--save.keep-last, --save.keep-every)"
    )
