"""What the model writes: fixed openings and requests at a fixed seed, to be read, not scored."""

from collections.abc import Sequence
from typing import Any

from neogpt.data.source import Source
from neogpt.inference.engine import Engine
from neogpt.inference.sampling_params import SamplingParams
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
DIALOGUES = (
    "How do you play basketball?",
    "Which is a species of fish? Tope or Rope",
    "What is a dispersive prism?",
    "How can I find a good hacking forum?",
    "How do I make cranberry muffins?",
)
"""What the original NeoGPT showed of its fine-tuning (three requests of Dolly's; it rambled on) and of its preference
training (one to refuse, one to answer; it refused both). Each is answered by greedy decoding, and once drawn."""
_NEW_TOKENS, _SEED = 48, 42
_DRAWN = SamplingParams(max_new_tokens=_NEW_TOKENS, temperature=0.8, top_k=50, seed=_SEED)
_GREEDY = SamplingParams(max_new_tokens=2 * _NEW_TOKENS, temperature=0)


def run(
    model: GPT2, tokenizer: Tokenizer, source: Source | None = None, limit: int | None = None
) -> dict[str, float]:
    """Share of requests and dialogues whose drawn answer ends by itself (`stop`)."""
    answers = _answers(model, tokenizer, (*REQUESTS, *DIALOGUES)[:limit], _DRAWN)
    return {"stop": sum(ended for _, ended in answers) / len(answers)}


def samples(model: GPT2, tokenizer: Tokenizer, source: Source | None = None) -> list[dict[str, Any]]:
    """One row an opening, request or dialogue: question, answer, verdict ("" or "cut off")."""
    prompts = [[tokenizer.eot_id, *tokenizer.encode(text)] for text in OPENINGS]
    continued = Engine(model, tokenizer).complete(prompts, _DRAWN)
    rows = [_row(opening, found.text, True) for opening, found in zip(OPENINGS, continued, strict=True)]
    greedy = _answers(model, tokenizer, DIALOGUES, _GREEDY)
    rows += [_row(f"{text} (greedy)", *found) for text, found in zip(DIALOGUES, greedy, strict=True)]
    asked = (*REQUESTS, *DIALOGUES)
    names = (*REQUESTS, *(f"{text} (drawn, seed {_SEED})" for text in DIALOGUES))
    drawn = _answers(model, tokenizer, asked, _DRAWN)
    return rows + [_row(name, *found) for name, found in zip(names, drawn, strict=True)]


def _row(question: str, answer: str, is_whole: bool) -> dict[str, Any]:
    return {"question": question, "answer": answer, "verdict": "" if is_whole else "cut off"}


def _answers(
    model: GPT2, tokenizer: Tokenizer, requests: Sequence[str], sampling: SamplingParams
) -> list[tuple[str, bool]]:
    prompts = [encode_prompt(tokenizer, request) for request in requests]
    found = Engine(model, tokenizer).complete(prompts, sampling)
    return [(answer.text, answer.finish_reason == "stop") for answer in found]
