"""The functions of `import neogpt`: load, sample, save."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from neogpt.checkpoint import load_model, load_tokenizer
from neogpt.generate import Engine, Sampling
from neogpt.model import GPT2, save_pretrained
from neogpt.tokenizer import Tokenizer

__all__ = ["generate", "load", "load_tokenizer", "save"]


def load(name: str | Path) -> GPT2:
    """The model of a run, a checkpoint, a Hugging Face directory or id: float32, on the CPU, in eval mode.

    Errors: CheckpointError says what was found instead.
    """
    return load_model(name)


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
    sampling = Sampling(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        stop=tuple(stop),
        seed=seed,
    )
    ids = [[tokenizer.eot_id, *tokenizer.encode(prompt)] for prompt in prompts]
    for completion in Engine(model, tokenizer).complete(ids, sampling):
        yield completion.text


def save(model: GPT2, tokenizer: Tokenizer, folder: str | Path) -> None:
    """Write a Hugging Face GPT-2 directory that transformers, vLLM and llama.cpp load as it stands."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_pretrained(model, folder)
    tokenizer.save(folder, model.config.n_positions)
