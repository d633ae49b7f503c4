"""Which of four endings continues an everyday scene? 10,042 validation tasks, in two named styles.

`build-nanogpt`: the text as it stands, ` ` + ending tokenized apart from it; acc_norm is per token. This is what
build-nanogpt and the original NeoGPT measure. `lm-eval`: the text, cleaning and lengths (in characters) of
lm-evaluation-harness's task `hellaswag`. Figures of the two are not comparable with each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from neogpt.errors import ConfigError
from neogpt.evals import base
from neogpt.evals._counts import standard_error
from neogpt.evals._hellaswag_tasks import Style, read
from neogpt.evals._sharing import mine

if TYPE_CHECKING:
    from neogpt.model import GPT2
    from neogpt.tokenizer import Tokenizer
    from neogpt.train.parallel.distributed import World


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """Which tasks, and how they are laid out; `limit` takes the first ones."""

    style: Style = "build-nanogpt"
    """How the text is laid out and scored; figures of different styles do not compare."""
    data: str = ""
    """File of tasks (hellaswag_val.jsonl); empty: NEOGPT_DATA, the cache, or downloaded."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.style not in get_args(Style):
            known = ", ".join(get_args(Style))
            raise ConfigError(
                f"there is no style {self.style!r} of HellaSwag", f"one of {known}", code="eval.bad_option"
            )


class HellaSwag(base.Eval[Config]):
    """Four endings a task, of which one is true."""

    config_class = Config
    data_kind = "file"
    metrics = (
        base.Metric(
            "acc_norm",
            base.KNOWLEDGE,
            "HellaSwag, length-normalized",
            "Which of four endings continues an everyday scene? Guessing gives 25%.",
        ),
        base.Metric(
            "acc",
            base.KNOWLEDGE,
            "HellaSwag",
            "Which of four endings continues an everyday scene, by plain probability? Guessing gives 25%.",
        ),
    )

    def check(self, tokenizer: Tokenizer | None = None) -> None:
        """DataError when the tasks cannot be had."""
        read(self.config.data, self.config.limit)

    def run(self, model: GPT2, tokenizer: Tokenizer, world: World) -> dict[str, float]:
        """acc (the most probable ending is the true one), acc_norm (most probable by length), and their errors.

        Errors: DataError without data.
        """
        from neogpt.evals._hellaswag_scoring import encoded, predictions  # start-up time: torch

        tasks = read(self.config.data, self.config.limit)
        items = encoded(tokenizer, mine(tasks, world), self.config.style)
        found = predictions(model, items)
        right = [
            (plain == i.label, normed == i.label) for i, (plain, normed) in zip(items, found, strict=True)
        ]
        counts = world.gather(np.array(right, np.float64).reshape(-1, 2).sum(axis=0, keepdims=True)).sum(
            axis=0
        )
        return _scores(int(counts[0]), int(counts[1]), len(tasks))


EVAL = HellaSwag


def _scores(right: int, right_norm: int, n: int) -> dict[str, float]:
    return {
        "acc": right / n,
        "acc_norm": right_norm / n,
        "acc_stderr": standard_error(right, n),
        "acc_norm_stderr": standard_error(right_norm, n),
    }
