"""What evals of cloze tasks share (read by the report as well, so without torch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from neogpt.evals import base
from neogpt.evals._tasks import Cloze, TaskEval, bits_metric

if TYPE_CHECKING:
    from neogpt.model import GPT2
    from neogpt.tokenizer import Tokenizer
    from neogpt.train.parallel.distributed import World


class ClozeEval(TaskEval[Cloze]):
    """Tasks with one right answer among several (see `_cloze.scores`)."""

    def scores(
        self, model: GPT2, tokenizer: Tokenizer, tasks: Sequence[Cloze], world: World
    ) -> dict[str, float]:
        """acc, acc_norm and bits_per_byte, each with its standard error (see `_cloze.scores`)."""
        from neogpt.evals import _cloze  # start-up time: torch

        return _cloze.scores(model, tokenizer, tasks, world)


def cloze_metrics(name: str, explanation: str) -> tuple[base.Metric, ...]:
    """How a report shows a set of cloze tasks."""
    return (
        base.Metric("acc_norm", base.KNOWLEDGE, f"{name}, length-normalized", explanation),
        base.Metric("acc", base.KNOWLEDGE, name, explanation),
        bits_metric(name),
    )
