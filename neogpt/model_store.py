"""Models by name: a run, a checkpoint, a Hugging Face directory or id, found, verified and loaded."""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from neogpt import atomic, ledger, retention
from neogpt.errors import CheckpointError
from neogpt.model import GPT2, load_pretrained
from neogpt.paths import RunDir, is_offline
from neogpt.retention import eval_settings, newest, step_of, steps
from neogpt.tokenizer import Tokenizer

_log = logging.getLogger(__name__)
UNREAD = ("trainer.safetensors",)
"""What a checkpoint has that no model is read from: the optimizer's state, twice as large as the model."""


@dataclass(frozen=True)
class ModelFolder(os.PathLike[str]):
    """A folder that a model and its tokenizer are read from, found and verified once: pass it on, not its name."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def weights_hash(self) -> str:
        """sha256 of model.safetensors: as the manifest has it, which was verified, or of the file."""
        weights = "model.safetensors"
        if (self.path / atomic.MANIFEST).is_file():
            return atomic.read_manifest(self.path, CheckpointError)[weights][1]
        return atomic.sha256_file(self.path / weights)


def model_of(run: RunDir) -> ModelFolder | None:
    """The checkpoint that a run stands for: its newest whole one; with `--eval.patience`, the best that is kept; the
    last at which all guardrails held, where one of them ended it."""
    chosen = None
    if ledger.last_good_step(ledger.read(run.metrics)) is not None:
        chosen = retention.good(run, steps(run))
    elif eval_settings(run).get("patience"):
        chosen = retention.best(run, steps(run))
    if chosen is None:
        found = newest(run, _log.warning, UNREAD)
        return ModelFolder(found) if found else None
    return _verified(run.checkpoint(chosen))


def _verified(folder: Path) -> ModelFolder:
    """The folder, checked against its manifest where it has one; CheckpointError says what to type in its place."""
    if (folder / atomic.MANIFEST).is_file():
        atomic.verify_manifest(folder, CheckpointError, _another(folder), UNREAD)
    return ModelFolder(folder)


def _another(folder: Path) -> str:
    """What to type in place of a checkpoint that is not whole."""
    if step_of(folder) is None:
        return "a whole copy of it in its place"
    run = RunDir(folder.parent.parent)
    others = [str(run.checkpoint(step)) for step in reversed(steps(run)) if step != step_of(folder)]
    return (
        f"another checkpoint of the run: {', '.join(others[:3])}"
        if others
        else "a whole copy of it in its place"
    )


def resolve(name: str | os.PathLike[str]) -> ModelFolder:
    """The model folder that `name` means: a run (see `model_of`), a checkpoint, a Hugging Face directory, or a
    Hugging Face id (downloaded, unless the network is off). One that was resolved before is that already.

    A folder with a manifest is checked against it, but for what no model is read from (`UNREAD`). Errors:
    CheckpointError says what was found instead and what to type.
    """
    if isinstance(name, ModelFolder):
        return name
    folder = Path(name)
    if (folder / "config.json").is_file():
        return _verified(folder)
    if (folder / "checkpoints").is_dir() and (found := model_of(RunDir(folder))):
        return found
    if folder.is_dir():
        inside = [p for p in sorted(folder.iterdir()) if (p / "checkpoints").is_dir()]
        hint = f"one of its runs: {', '.join(map(str, inside))}" if inside else ""
        raise CheckpointError(
            f"{folder} holds no checkpoint",
            "a run, a checkpoint or a model folder",
            hint,
            code="checkpoint.none_there",
        )
    if folder.exists():
        raise CheckpointError(
            f"{folder} is a file",
            "a folder with config.json and model.safetensors; pickled checkpoints (.pt, .bin) are never opened",
            code="checkpoint.not_a_folder",
        )
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)) and not str(name).startswith(("runs/", ".")):
        return ModelFolder(_download(str(name)))
    raise CheckpointError(
        f"there is no model at {name}", "a run, a checkpoint, or a Hugging Face id", code="model.not_found"
    )


def _download(name: str) -> Path:
    """The local copy of a model on the Hugging Face Hub (safetensors and JSON only)."""
    from huggingface_hub import snapshot_download  # extra: data
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=is_offline()))
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise CheckpointError(
            f"{name} is not on this disk and could not be downloaded: {_no_download(error)}",
            "a local folder, or a Hugging Face id and a connection",
            "a folder in its place (`neogpt list runs` names the runs here), or the same command with a connection",
            code="model.not_downloaded",
        ) from error


def _no_download(error: Exception) -> str:
    """Why the Hub gave nothing, in words."""
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError  # extra: data

    if is_offline():
        return "HF_HUB_OFFLINE or NEOGPT_OFFLINE forbids the network"
    if isinstance(error, RepositoryNotFoundError):
        return "the Hub has no such model, or gives it only with a token (HF_TOKEN)"
    if isinstance(error, LocalEntryNotFoundError):
        return "the Hub cannot be reached"
    return str(error).partition("\n")[0] or type(error).__name__


def load_model(name: str | os.PathLike[str]) -> GPT2:
    """The model that `name` means (see `resolve`), in float32 on the CPU, in eval mode."""
    return load_pretrained(resolve(name).path).eval()


def load_tokenizer(name: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer beside the model that `name` means."""
    return Tokenizer.load(resolve(name).path)
