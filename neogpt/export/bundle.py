"""What an export is made of: a model, its tokenizer, its chat template and its card, read once and checked."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neogpt import checkpoint
from neogpt.errors import CheckpointError, ConfigError
from neogpt.export.card import Card, read_card
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer


@dataclass(frozen=True)
class ModelBundle:
    """A model and all that other programs ask of it."""

    folder: Path
    model: GPT2
    tokenizer: Tokenizer
    chat_template: str
    """Jinja; "" where the model has none."""
    card: Card


def open_bundle(name: str | Path) -> ModelBundle:
    """The bundle of a run, a checkpoint, a Hugging Face directory or id.

    Errors: CheckpointError, DataError for files that are not a GPT-2 and its tokenizer; ConfigError
    (`export.vocabulary`) where the tokenizer has ids that the model lacks.
    """
    folder = checkpoint.resolve(name)
    model, tokenizer = checkpoint.load_model(folder), checkpoint.load_tokenizer(folder)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ConfigError(
            f"the tokenizer in {folder} has {tokenizer.vocab_size} ids, the model {model.config.vocab_size}",
            "a tokenizer with at most as many ids as the model",
            "the tokenizer that the model was trained with",
            code="export.vocabulary",
        )
    return ModelBundle(folder, model, tokenizer, _chat_template(folder), read_card(folder))


def _chat_template(folder: Path) -> str:
    """What transformers would use: chat_template.jinja, else the template in tokenizer_config.json."""
    return next(_templates(folder), "")


def _templates(folder: Path) -> Iterator[str]:
    try:
        if (folder / "chat_template.jinja").is_file():
            yield (folder / "chat_template.jinja").read_text(encoding="utf-8")
        if (folder / "tokenizer_config.json").is_file():
            yield _default(json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the chat template in {folder} cannot be read: {error}",
            "tokenizer_config.json as the model's tokenizer wrote it, or none",
            code="export.chat_template",
        ) from None


def _default(config: dict[str, Any]) -> str:
    """The default template; a list of named ones is the form of older transformers."""
    value = config.get("chat_template") or ""
    if isinstance(value, list):
        value = {item["name"]: item["template"] for item in value}.get("default", "")
    return str(value)
