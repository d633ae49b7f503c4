"""What the model writes: fixed openings and requests at a fixed seed, to be read, not scored."""

from typing import Any

from neogpt.config import SourceConfig
from neogpt.generate import Engine, Sampling
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import encode_prompt

OPENINGS = (*["Hello, I'm a language model,"] * 3, "The history of the city begins", "Water is made of")
"""Each is continued with its own draw: it follows from the fixed seed and the place in this list."""
REQUESTS = (
    "What is the capital of France?",
    "Give me three tips for staying healthy.",
    "Write a short poem about the sea.",
)
_NEW_TOKENS = 48


def run(
    model: GPT2, tokenizer: Tokenizer, source: SourceConfig | None = None, limit: int | None = None
) -> dict[str, float]:
    """Share of requests whose answer ends by itself (`stop`), over the fixed requests."""
    answers = _answers(model, tokenizer, list(REQUESTS[:limit]))
    return {"stop": sum(ended for _, ended in answers) / len(answers)}


def samples(model: GPT2, tokenizer: Tokenizer, source: SourceConfig | None = None) -> list[dict[str, Any]]:
    """One row an opening or request: question, answer, verdict ("" or "cut off")."""
    prompts = [[tokenizer.eot_id, *tokenizer.encode(text)] for text in OPENINGS]
    continued = Engine(model, tokenizer).complete(prompts, _sampling())
    rows = [
        {"question": opening, "answer": found.text, "verdict": ""}
        for opening, found in zip(OPENINGS, continued, strict=True)
    ]
    for request, (text, ended) in zip(REQUESTS, _answers(model, tokenizer, list(REQUESTS)), strict=True):
        rows.append({"question": request, "answer": text, "verdict": "" if ended else "cut off"})
    return rows


def _answers(model: GPT2, tokenizer: Tokenizer, requests: list[str]) -> list[tuple[str, bool]]:
    prompts = [encode_prompt(tokenizer, request) for request in requests]
    found = Engine(model, tokenizer).complete(prompts, _sampling())
    return [(answer.text, answer.finish_reason == "stop") for answer in found]


def _sampling() -> Sampling:
    return Sampling(max_new_tokens=_NEW_TOKENS, temperature=0.8, top_k=50, seed=42)
