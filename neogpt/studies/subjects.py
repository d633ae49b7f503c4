"""The models under study: each with its name, its tokenizer and the world that it learnt from.

What the studies take from other rooms stands here: models on disk, the engine's answers, tinyworld's exam.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neogpt import model_store, retention
from neogpt.data import source
from neogpt.data.source import Source
from neogpt.errors import ConfigError
from neogpt.inference.engine import Engine
from neogpt.inference.sampling_params import SamplingParams
from neogpt.model import GPT2
from neogpt.paths import RunDir
from neogpt.tokenizer import Tokenizer, template


@dataclass(frozen=True)
class Subject:
    """One model under study."""

    label: str
    folder: Path
    model: GPT2
    tokenizer: Tokenizer
    stage: str = ""
    """What the run that made it did (pretrain, sft, ...); "" for models from elsewhere."""
    source: Source | None = None
    """The data source of that run, with its options."""

    @property
    def name(self) -> str:
        """What to type for it."""
        return str(self.folder)

    def text(self, ids: Sequence[int]) -> str:
        """The text of some tokens, without end-of-text."""
        return self.tokenizer.decode([i for i in ids if i != self.tokenizer.eot_id])


def load(name: str, device: str = "cpu") -> Subject:
    """The model that `name` (a run, a checkpoint, a Hugging Face directory or id) means.

    Errors: CheckpointError; its code is model.other_family for what is no GPT-2.
    """
    found = model_store.resolve(name)
    folder, settings = found.path, _settings(found.path)
    model = model_store.load_model(found).to(device)
    return Subject(
        _label(folder, str(name)),
        folder,
        model,
        model_store.load_tokenizer(found),
        settings.get("stage", ""),
        _source(settings),
    )


def load_all(names: Sequence[str], device: str = "cpu") -> list[Subject]:
    """The models that the names mean, each with a label of its own, all with one tokenizer.

    Errors: ConfigError (study.other_tokenizer), and those of `load`.
    """
    found = [load(name, device) for name in names]
    for other in found[1:]:
        if other.tokenizer.fingerprint != found[0].tokenizer.fingerprint:
            raise ConfigError(
                f"{found[0].label} and {other.label} have different tokenizers",
                "stages of one model: their tokens are the same",
                f"neogpt study inside {other.name}",
                code="study.other_tokenizer",
            )
    labels = [subject.label for subject in found]
    return [
        replace(subject, label=f"{subject.label} ({i + 1})") if labels.count(subject.label) > 1 else subject
        for i, subject in enumerate(found)
    ]


def checkpoints(run: str | Path) -> list[tuple[int, Path]]:
    """Each checkpoint of a run: (step, folder), lowest step first.

    Errors: ConfigError (study.no_checkpoints).
    """
    place = RunDir(Path(run))
    found = [(step, place.checkpoint(step)) for step in retention.steps(place)]
    if not found:
        raise ConfigError(
            f"{run} has no checkpoints",
            "a run directory (`neogpt list runs` names those that are here)",
            f"neogpt pretrain tinyworld --run {run} --save.every 10 --save.keep-every 10",
            code="study.no_checkpoints",
        )
    return found


def answers(subject: Subject, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[str]:
    """The likeliest continuation of each prompt, as text, by the engine."""
    sampling = SamplingParams(max_new_tokens=max_new_tokens, temperature=0.0)
    done = Engine(subject.model, subject.tokenizer).complete(prompts, sampling)
    return [completion.text for completion in done]


def encode(
    tokenizer: Tokenizer, text: str, instruct: bool = False, context: str = "", response: str = ""
) -> list[int]:
    """The ids of a text after end-of-text, or of an instruction in the template and the beginning of its answer.

    An answer begins a line, so white space before it is left out, as in training.
    """
    if not instruct:
        return [tokenizer.eot_id, *tokenizer.encode(text)]
    return [*template.encode_prompt(tokenizer, text, context), *tokenizer.encode(response.lstrip())]


def token_text(tokenizer: Tokenizer, token_id: int) -> str:
    """A token as a reader sees it: `⏎` for a new line, `⟨end⟩` for end-of-text, `\\xNN` for parts of characters."""
    if token_id == tokenizer.eot_id:
        return "⟨end⟩"
    if token_id >= tokenizer.vocab_size:
        return f"⟨{token_id}⟩"
    return tokenizer.token_bytes(token_id).decode("utf-8", "backslashreplace").replace("\n", "⏎")


def _label(folder: Path, name: str) -> str:
    """A run by its name, a checkpoint by its run and step, everything else as it was typed."""
    step = retention.step_of(folder)
    if step is None:
        return name if "/" not in name or not folder.is_dir() else (folder.name or name)
    run = folder.parent.parent
    return run.name if Path(name).resolve() == run.resolve() else f"{run.name} step {step}"


def _settings(folder: Path) -> dict[str, Any]:
    """The settings of the run that made a checkpoint; none elsewhere."""
    file = folder / "trainer.json"
    return dict(json.loads(file.read_text()).get("config", {})) if file.is_file() else {}


def _source(settings: dict[str, Any]) -> Source | None:
    values = settings.get("source", {})
    return source.from_dict(values) if "kind" in values else None
