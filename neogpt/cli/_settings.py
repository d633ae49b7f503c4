"""What is wrong with a run's settings that can be said before any data is read: arithmetic, names, ids."""

import difflib
import os
from collections.abc import Sequence

from neogpt import plugins
from neogpt.config import AnyRun, GPT2Config
from neogpt.errors import ConfigError
from neogpt.plan import arithmetic

TRACKERS, EVALS = "neogpt.train.callbacks", "neogpt.evals"


def check(run: AnyRun, flags: Sequence[str]) -> None:
    """ConfigError for settings that no data could make work; `flags` are those that were typed."""
    arithmetic.refuse(run, int(os.environ.get("WORLD_SIZE", "1")))
    trackers(run)
    for name in run.eval.names:
        if name.replace("_", "-") not in plugins.names(EVALS):
            raise plugins.unknown("eval", name, plugins.names(EVALS))
    if run.stage == "pretrain" and not run.init_from:
        refuse_ids(run, flags)


def trackers(run: AnyRun) -> tuple[str, ...]:
    """The names of a run's trackers; `none` alone is nobody."""
    names = () if run.track == ("none",) else run.track
    known = plugins.names(TRACKERS)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1) or [known[0]]
            raise ConfigError(
                f"there is no tracker named {name!r}",
                f"some of {', '.join(known)}, or none alone",
                f"--track {near[0]}, or --track none",
            )
    return names


def n_ids(run: AnyRun) -> int:
    """How many ids a run's tokenizer has; of one that is yet to be trained, how many it may have."""
    if run.data.tokenizer == "gpt2":
        return GPT2Config().vocab_size
    if run.data.tokenizer == "trained":
        return run.data.vocab_size
    from neogpt.tokenizer import Tokenizer

    return Tokenizer.load(run.data.tokenizer).vocab_size


def refuse_ids(run: AnyRun, flags: Sequence[str]) -> None:
    """ConfigError for a number of ids that was typed and is not the tokenizer's, whose number the model takes.

    Only what was typed: recipes and files have numbers of other tokenizers, as they have always given way.
    """
    typed = any(flag.partition("=")[0].replace("_", "-") == "--model.vocab-size" for flag in flags)
    if not typed or run.model.vocab_size == (ids := n_ids(run)):
        return
    trained = run.data.tokenizer == "trained"
    raise ConfigError(
        f"--model.vocab-size {run.model.vocab_size}, but the tokenizer ({run.data.tokenizer}) has {ids} ids",
        "as many ids as the tokenizer's, which the model takes by itself",
        f"--data.vocab-size {run.model.vocab_size} in its place"
        if trained
        else "leave --model.vocab-size out",
    )
