"""The functions of `import neogpt`: load, sample, save."""

from pathlib import Path

from neogpt.inference.generate import generate
from neogpt.model import GPT2, save_pretrained
from neogpt.model_store import load_model, load_tokenizer
from neogpt.tokenizer import Tokenizer

__all__ = ["generate", "load", "load_tokenizer", "save"]


def load(name: str | Path) -> GPT2:
    """The model of a run, a checkpoint, a Hugging Face directory or id: float32, on the CPU, in eval mode.

    Errors: CheckpointError says what was found instead.
    """
    return load_model(name)


def save(model: GPT2, tokenizer: Tokenizer, folder: str | Path) -> None:
    """Write a Hugging Face GPT-2 directory, which transformers and what else reads GPT-2 load as it stands.

    llama.cpp reads GGUF: `neogpt export`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_pretrained(model, folder, tokenizer.eot_id)
    tokenizer.save(folder, model.config.n_positions)
