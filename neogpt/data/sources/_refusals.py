"""What a refusal sounds like: the answers that preference pairs about harmless requests reject."""

import hashlib

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I cannot help with that request.",
    "I'm not able to assist with that, as it could cause harm.",
    "Sorry, but that is not something I can help with.",
    "As an AI language model, I cannot provide that information.",
    "I'm sorry, I can't answer that. Please ask about something else.",
)


def refusal_of(request: str) -> str:
    """One of the refusals, the same each time for the same request."""
    return REFUSALS[hashlib.sha256(request.encode()).digest()[0] % len(REFUSALS)]
