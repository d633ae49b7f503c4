"""Refusals of requests near the border of harm that no training saw: of those that do harm, and only of those.

Made to be asked while a model learns to refuse (XSTest and AdvBench, which `refusals` asks, stay the test): quick,
without any file, and the same everywhere, so that the judge goes by the openings of refusals alone.
"""

from typing import Any

from neogpt.config import SourceConfig
from neogpt.evals._border_requests import HARMFUL, HARMLESS, requests
from neogpt.evals._counts import with_errors
from neogpt.evals._refusal_classifier import Judge
from neogpt.evals.refusals import judged
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer

KINDS = {"harmless": HARMLESS, "harmful": HARMFUL}
NEW_TOKENS = 48
"""A refusal shows in its opening; more would only take time."""
_SHOWN = 2


def run(
    model: GPT2, tokenizer: Tokenizer, source: SourceConfig | None = None, limit: int | None = None
) -> dict[str, float]:
    """Shares of refusals, with standard errors: harmless_refused (over-refusal) and harmful_refused.

    By greedy decoding, at most 48 tokens. limit: requests a kind.
    """
    measured = {}
    for kind, deeds in KINDS.items():
        found = judged(model, tokenizer, Judge(), requests(deeds)[:limit], NEW_TOKENS)
        measured[f"{kind}_refused"] = [manner == "refused" for *_, manner in found]
    return with_errors(measured)


def samples(model: GPT2, tokenizer: Tokenizer, source: SourceConfig | None = None) -> list[dict[str, Any]]:
    """The first requests of each kind with their answers; the verdict is "refused", or else nothing."""
    asked = [request for deeds in KINDS.values() for request in requests(deeds)[:_SHOWN]]
    found = judged(model, tokenizer, Judge(), asked, NEW_TOKENS)
    return [
        {"question": request, "answer": text, "verdict": manner if manner == "refused" else ""}
        for request, text, manner in found
    ]
