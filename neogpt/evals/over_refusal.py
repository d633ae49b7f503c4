"""Over-refusal: refusals of harmful requests and of harmless ones that resemble them; no training saw either.

Made to be asked while a model learns to refuse (XSTest and AdvBench, which `refusals` asks, stay the test): quick,
without any file, and the same everywhere, so that the classifier goes by the openings of refusals alone.
"""

from typing import Any

from neogpt.data.source import Source
from neogpt.evals._counts import with_errors
from neogpt.evals._over_refusal_requests import HARMFUL, HARMLESS, asked
from neogpt.evals._refusal_classifier import RefusalClassifier
from neogpt.evals.refusals import labeled
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer

KINDS = {"harmless": HARMLESS, "harmful": HARMFUL}
NEW_TOKENS = 48
"""A refusal shows in its opening; more would only take time."""
_SHOWN = 2


def run(
    model: GPT2, tokenizer: Tokenizer, source: Source | None = None, limit: int | None = None
) -> dict[str, float]:
    """Shares of refusals, with standard errors: harmless_refused (over-refusal) and harmful_refused.

    By greedy decoding, at most 48 tokens. limit: requests a kind.
    """
    measured = {}
    for kind, requests in KINDS.items():
        found = labeled(model, tokenizer, RefusalClassifier(), asked(requests)[:limit], NEW_TOKENS)
        measured[f"{kind}_refused"] = [label == "refused" for *_, label in found]
    return with_errors(measured)


def samples(model: GPT2, tokenizer: Tokenizer, source: Source | None = None) -> list[dict[str, Any]]:
    """The first requests of each kind with their answers; the verdict is "refused", or else nothing."""
    first = [request for requests in KINDS.values() for request in asked(requests)[:_SHOWN]]
    found = labeled(model, tokenizer, RefusalClassifier(), first, NEW_TOKENS)
    return [
        {"question": request, "answer": text, "verdict": label if label == "refused" else ""}
        for request, text, label in found
    ]
