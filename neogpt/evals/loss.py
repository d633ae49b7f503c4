"""How well held-out text is predicted: -log p a token, over the validation split of a prepared data set."""

import contextlib
import math
from typing import Any

import numpy as np

from neogpt import atomic
from neogpt.config import AnyRun
from neogpt.data.shards import TokenData
from neogpt.data.source import Source
from neogpt.data.windows import Windows
from neogpt.errors import DataError
from neogpt.model import GPT2
from neogpt.objectives.batching import on_device, token_loss
from neogpt.paths import cache_dir
from neogpt.tokenizer import Tokenizer

USUAL = "fineweb-edu"
"""The source whose held-out text is taken where none is named, and the model did not learn from another."""
_WINDOWS = 2048


def of_run(run: AnyRun) -> dict[str, Any]:
    """A run's options for `run`, with as many windows as its own validation; DataError where no text is prepared."""
    if not _prepared():
        raise _nothing_prepared()
    return {"limit": run.eval.val_samples or None}


def run(
    model: GPT2,
    tokenizer: Tokenizer,
    source: Source | None = None,
    limit: int | None = None,
    data: str = "",
    learned: str = "",
) -> dict[str, float]:
    """The mean of -log p in nats a token, its standard error over windows, and the tokens that were counted.

    The windows are pretraining's own, as long as the model's context: the first `limit` of them (2,048), whose
    documents are a random sample of the split. data, learned: see `held_out`, whose errors these are.
    """
    windows = Windows(held_out(tokenizer, data, learned), model.config.n_positions)
    sums, tokens = [], []
    for number in range(min(len(windows), limit or _WINDOWS)):
        batch = windows.batch(np.array([number]))
        sums.append(float(token_loss(model, on_device(batch, model.device))))
        tokens.append(float(batch.weights.sum()))
    return _scores(np.array(sums), np.array(tokens))


def _scores(sums_N: np.ndarray, tokens_N: np.ndarray) -> dict[str, float]:
    """Of N windows: a ratio of two sums, whose error is that of its residuals (Cochran 1977, section 2.11)."""
    n, total = len(sums_N), int(tokens_N.sum())
    mean = float(sums_N.sum() / total)
    residuals_N = sums_N - mean * tokens_N
    error = math.sqrt(n / max(1, n - 1) * float(residuals_N @ residuals_N)) / total
    return {"mean": mean, "mean_stderr": error, "tokens": total}


def held_out(tokenizer: Tokenizer, data: str = "", learned: str = "") -> TokenData:
    """The validation split in the folder `data`; or that of the prepared set with the hash `learned`, which the model
    was pretrained on; or FineWeb-Edu's in the cache.

    Errors: DataError where there is none, several, or one that was made with another tokenizer.
    """
    found = [TokenData(data, "val")] if data else _prepared(learned)
    fitting = [split for split in found if split.shards[0].header.fingerprint == tokenizer.fingerprint]
    if not found:
        raise _nothing_prepared()
    if not fitting:
        raise DataError(
            f"{found[0].folder} was prepared with another tokenizer than the model's",
            "text in the ids that the model knows",
            "a folder that was prepared with that one (`neogpt data prepare SOURCE --tokenizer FOLDER`)",
        )
    if len(fitting) > 1:
        raise DataError(
            f"{len(fitting)} prepared data sets of {USUAL} are here",
            "one of them",
            " or ".join(f"--data {split.folder}" for split in fitting[:3]),
        )
    return fitting[0]


def _prepared(learned: str = "") -> list[TokenData]:
    """Validation splits in the cache: of the data set with that hash, else of FineWeb-Edu."""
    found = []
    for manifest in sorted(
        (cache_dir() / "data").glob(f"{'*' if learned else f'{USUAL}-*'}/{atomic.MANIFEST}")
    ):
        with contextlib.suppress(DataError):  # nothing is held out there, or it is damaged
            found.append(TokenData(manifest.parent, "val"))
    return [split for split in found if not learned or learned.endswith(f"-{split.fingerprint}")]


def _nothing_prepared() -> DataError:
    return DataError(
        "there is no held-out text to measure the loss on",
        f"a prepared data set: what the model was pretrained on, or {USUAL}",
        f"--data FOLDER, or first `neogpt data prepare {USUAL}`",
    )
