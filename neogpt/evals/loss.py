"""How well held-out text is predicted: -log p a token, over the validation split of a prepared data set."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neogpt import atomic
from neogpt.data.shards import TokenData
from neogpt.data.windows import Windows
from neogpt.errors import DataError
from neogpt.evals import base
from neogpt.evals._sharing import mine, whole
from neogpt.paths import cache_dir

if TYPE_CHECKING:
    from neogpt.model import GPT2
    from neogpt.tokenizer import Tokenizer
    from neogpt.train.parallel.distributed import World

USUAL = "fineweb-edu"
"""The source whose held-out text is taken where none is named, and the model did not learn from another."""
_WINDOWS = 2048


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """Which text; `limit` is of windows: 0 takes 2,048, and in training as many as the run's own validation."""

    data: str = ""
    """Folder of a prepared data set; empty: what the model was pretrained on, or FineWeb-Edu in the cache."""


class Loss(base.Eval[Config]):
    """Pretraining's own windows of held-out text."""

    config_class = Config
    data_kind = "folder"
    metrics = (
        base.Metric(
            "mean",
            base.OTHER,
            "Loss on held-out text",
            "How surprised the model is by a token of text that it did not learn from, in nats.",
            "lower",
            "number",
        ),
        base.Metric(
            "bits_per_byte",
            base.OTHER,
            "Bits per byte of held-out text",
            "The same for a byte of text, which does not depend on the vocabulary.",
            "lower",
            "number",
        ),
        base.Metric("tokens", base.OTHER, "Tokens of held-out text", "How many were counted.", "", "number"),
    )

    def check(self, tokenizer: Tokenizer | None = None) -> None:
        """DataError where no text is prepared, or none that the tokenizer fits."""
        if tokenizer:
            held_out(tokenizer, self.config.data, self.subject.data_hash)
        elif not (self.config.data or _prepared()):
            raise _nothing_prepared()

    def run(self, model: GPT2, tokenizer: Tokenizer, world: World) -> dict[str, float]:
        """The mean of -log p in nats a token and in bits a byte, with standard errors over windows, and the tokens.

        The windows are pretraining's own, as long as the model's context: the first `limit` of them, whose documents
        are a random sample of the split. Errors: those of `held_out`.
        """
        from neogpt.objectives.batching import on_device, target_bytes, token_loss  # start-up time: torch

        text = held_out(tokenizer, self.config.data, self.subject.data_hash)
        windows = Windows(text, model.config.n_positions)
        limit = self.config.limit or self.subject.val_samples or _WINDOWS
        found = []
        for number in mine(range(min(len(windows), limit)), world):
            batch = windows.batch(np.array([number]))
            loss = float(token_loss(model, on_device(batch, model.device)))
            found.append((loss, float(batch.weights.sum()), target_bytes(batch, tokenizer.byte_lengths)))
        nats_N, tokens_N, bytes_N = np.array(whole(found, world)).T
        mean, mean_stderr = _ratio(nats_N, tokens_N)
        bits, bits_stderr = _ratio(nats_N / math.log(2), bytes_N)
        return {
            "mean": mean,
            "mean_stderr": mean_stderr,
            "bits_per_byte": bits,
            "bits_per_byte_stderr": bits_stderr,
            "tokens": int(tokens_N.sum()),
        }


EVAL = Loss


def _ratio(sums_N: np.ndarray, sizes_N: np.ndarray) -> tuple[float, float]:
    """The ratio of two sums over N windows, and its error: that of the residuals (Cochran 1977, section 2.11)."""
    n, total = len(sums_N), float(sizes_N.sum())
    ratio = float(sums_N.sum()) / total
    residuals_N = sums_N - ratio * sizes_N
    return ratio, math.sqrt(n / max(1, n - 1) * float(residuals_N @ residuals_N)) / total


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
            code="eval.other_tokenizer",
        )
    if len(fitting) > 1:
        raise DataError(
            f"{len(fitting)} prepared data sets of {USUAL} are here",
            "one of them",
            " or ".join(f"--data {split.folder}" for split in fitting[:3]),
            code="eval.several_data_sets",
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
        code="eval.no_held_out_text",
    )
