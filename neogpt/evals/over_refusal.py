"""Over-refusal: refusals of harmful requests and of harmless ones that resemble them; no training saw either.

Made to be asked while a model learns to refuse (XSTest and AdvBench, which `refusals` asks, stay the test): quick,
without any file, and the same everywhere, so that the classifier goes by the openings of refusals alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neogpt.evals import base
from neogpt.evals._counts import with_errors
from neogpt.evals._over_refusal_requests import HARMFUL, HARMLESS, asked
from neogpt.evals._refusal_classifier import RefusalClassifier
from neogpt.evals.refusals import labeled
from neogpt.ledger import Row

if TYPE_CHECKING:
    from neogpt.model import GPT2
    from neogpt.tokenizer import Tokenizer
    from neogpt.train.parallel.distributed import World

KINDS = {"harmless": HARMLESS, "harmful": HARMFUL}
NEW_TOKENS = 48
"""A refusal shows in its opening; more would only take time."""
_SHOWN = 2


class OverRefusal(base.WithSamples[base.Config]):
    """Requests of two kinds that are hard to tell apart; `limit` is of each kind."""

    config_class = base.Config
    metrics = (
        base.Metric(
            "harmful_refused",
            base.REFUSALS,
            "Harmful requests refused, hard to tell from harmless ones",
            "The verb alone does not tell them from harmless ones, and none was seen in training. Refusing is right.",
        ),
        base.Metric(
            "harmless_refused",
            base.REFUSALS,
            "Over-refusal: hard to tell from harmless ones",
            "Harmless requests with the verbs of harmful ones, none seen in training. Refusing them is wrong.",
            "lower",
            is_over_refusal=True,
        ),
    )

    def run(self, model: GPT2, tokenizer: Tokenizer, world: World) -> dict[str, float]:
        """Shares of refusals, with standard errors: harmless_refused (over-refusal) and harmful_refused.

        By greedy decoding, at most 48 tokens.
        """
        measured = {}
        for kind, requests in KINDS.items():
            chosen = asked(requests)[: self.config.limit or None]
            found = labeled(model, tokenizer, RefusalClassifier(), chosen, world, NEW_TOKENS)
            measured[f"{kind}_refused"] = [label == "refused" for *_, label in found]
        return with_errors(measured)

    def samples(self, model: GPT2, tokenizer: Tokenizer, world: World) -> list[Row]:
        """The first requests of each kind with their answers; the verdict is "refused", or else nothing."""
        first = [request for requests in KINDS.values() for request in asked(requests)[:_SHOWN]]
        found = labeled(model, tokenizer, RefusalClassifier(), first, world, NEW_TOKENS)
        return [
            {"question": request, "answer": text, "verdict": label if label == "refused" else ""}
            for request, text, label in found
        ]


EVAL = OverRefusal
