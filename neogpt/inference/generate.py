"""Prompts as text in, continuations as text out: the function `neogpt.generate`."""

from collections.abc import Iterator, Sequence

from neogpt.inference.engine import Engine
from neogpt.inference.sampling_params import SamplingParams
from neogpt.model.gpt2 import GPT2
from neogpt.tokenizer import Tokenizer


def generate(
    model: GPT2,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    max_new_tokens: int = 128,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    stop: Sequence[str] = (),
    seed: int = 0,
) -> Iterator[str]:
    """The continuation of each prompt, in order, as text without the prompt.

    Each prompt is read as the beginning of a document (end-of-text, then its text). The same seed gives the
    same texts, whatever else is in the batch.
    """
    sampling = SamplingParams(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        stop=tuple(stop),
        seed=seed,
    )
    ids = [[tokenizer.eot_id, *tokenizer.encode(prompt)] for prompt in prompts]
    completions = Engine(model, tokenizer).complete(ids, sampling)
    return (completion.text for completion in completions)
