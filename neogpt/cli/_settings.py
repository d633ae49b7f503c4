"""What is wrong with a run's settings that can be said before any data is read: arithmetic, names, ids."""

import contextlib
import difflib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neogpt import batching, evals, plugins
from neogpt.config import AnyRun, GPT2Config
from neogpt.errors import ConfigError
from neogpt.evals.base import Subject

TRACKERS = "neogpt.train.trackers"


def check(run: AnyRun, flags: Sequence[str]) -> None:
    """ConfigError for settings that no data could make work; `flags` are those that were typed."""
    batching.validate(run, int(os.environ.get("WORLD_SIZE", "1")))
    trackers(run)
    evals.load(run.eval.names, Subject())
    validate_shape(run, flags)
    if run.stage == "pretrain" and not run.init_from:
        validate_ids(run, flags)


def trackers(run: AnyRun) -> tuple[str, ...]:
    """The names of a run's trackers; `none` alone is nobody."""
    names = () if run.trackers == ("none",) else run.trackers
    known = plugins.names(TRACKERS)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1) or [known[0]]
            raise ConfigError(
                f"there is no tracker named {name!r}",
                f"some of {', '.join(known)}, or none alone",
                f"--trackers {near[0]}, or --trackers none",
                code="config.no_such_tracker",
            )
    return names


def n_ids(run: AnyRun) -> int:
    """How many ids a run's tokenizer has; of one that is yet to be trained, how many it may have."""
    if run.data.tokenizer == "gpt2":
        return GPT2Config().vocab_size
    if run.data.tokenizer == "trained":
        return run.data.vocab_size
    from neogpt.tokenizer import Tokenizer  # start-up time

    return Tokenizer.load(run.data.tokenizer).vocab_size


def validate_ids(run: AnyRun, flags: Sequence[str]) -> None:
    """ConfigError for a number of ids that was typed and is not the tokenizer's, whose number the model takes.

    Only what was typed: recipes and files have numbers of other tokenizers, as they have always given way.
    """
    if "vocab_size" not in _typed_shape(flags) or run.model.vocab_size == (ids := n_ids(run)):
        return
    trained = run.data.tokenizer == "trained"
    raise ConfigError(
        f"--model.vocab-size {run.model.vocab_size}, but the tokenizer ({run.data.tokenizer}) has {ids} ids",
        "as many ids as the tokenizer's, which the model takes by itself",
        f"--data.vocab-size {run.model.vocab_size} in its place"
        if trained
        else "leave --model.vocab-size out",
        code="config.vocab_size_differs",
    )


def _typed_shape(flags: Sequence[str]) -> list[str]:
    """Fields of the model's shape that were typed."""
    names = (
        flag.partition("=")[0].removeprefix("--model.").replace("-", "_")
        for flag in flags
        if flag.startswith("--model.")
    )
    return [name for name in names if name in GPT2Config.__dataclass_fields__]


def validate_shape(run: AnyRun, flags: Sequence[str]) -> None:
    """ConfigError for a typed shape that is not that of the model on disk with which the run begins."""
    names = _typed_shape(flags) if run.init_from else []
    found = _shape_on_disk(Path(run.init_from)) if names else {}
    for name in names:
        typed, there = getattr(run.model, name), found.get(name)
        if name in found and typed != there:
            raise ConfigError(
                f"--model.{name.replace('_', '-')} {typed}, but the model in {run.init_from} has {there}",
                "the shape of the model that --from names, which the run takes by itself",
                "leave --model.* out"
                + ("; or --from, for new weights of this shape" if run.stage == "pretrain" else ""),
                code="config.model_shape_differs",
            )


def _shape_on_disk(folder: Path) -> dict[str, Any]:
    """What the config.json of a run or model folder says; nothing where loading it will tell what is wrong."""
    for path in (folder / "config.json", *folder.glob("checkpoints/*/config.json")):
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(path.read_text("utf-8"))
            return found if isinstance(found, dict) else {}
    return {}
