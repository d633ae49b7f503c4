"""Models by name: a run, a checkpoint, a Hugging Face directory or id, found, verified and loaded."""

import logging
import re
from pathlib import Path

from neogpt import atomic, ledger, retention
from neogpt.errors import CheckpointError
from neogpt.model import GPT2, load_pretrained
from neogpt.paths import RunDir, is_offline
from neogpt.retention import eval_settings, newest, step_of, steps
from neogpt.tokenizer import Tokenizer

_log = logging.getLogger(__name__)


def model_of(run: RunDir) -> Path | None:
    """The checkpoint that a run stands for: its newest whole one; with `--eval.patience`, the best that is kept; the
    last at which all guardrails held, where one of them ended it."""
    found = newest(run, _log.warning)
    if not found:
        return None
    chosen = None
    if ledger.last_good_step(ledger.read(run.metrics)) is not None:
        chosen = retention.good(run, steps(run))
    elif eval_settings(run).get("patience"):
        chosen = retention.best(run, steps(run))
    if chosen is None:
        return found
    atomic.verify_manifest(run.checkpoint(chosen), CheckpointError, _another(run.checkpoint(chosen)))
    return run.checkpoint(chosen)


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


def resolve(name: str | Path) -> Path:
    """The model folder that `name` means: a run (see `model_of`), a checkpoint, a Hugging Face directory, or a
    Hugging Face id (downloaded, unless the network is off).

    A folder with a manifest is checked against it. Errors: CheckpointError says what was found instead and what
    to type.
    """
    folder = Path(name)
    if (folder / "config.json").is_file():
        if (folder / atomic.MANIFEST).is_file():
            atomic.verify_manifest(folder, CheckpointError, _another(folder))
        return folder
    if (folder / "checkpoints").is_dir() and (found := model_of(RunDir(folder))):
        return found
    if folder.is_dir():
        inside = [p for p in sorted(folder.iterdir()) if (p / "checkpoints").is_dir()]
        hint = f"one of its runs: {', '.join(map(str, inside))}" if inside else ""
        raise CheckpointError(f"{folder} holds no checkpoint", "a run, a checkpoint or a model folder", hint)
    if folder.exists():
        raise CheckpointError(
            f"{folder} is a file",
            "a folder with config.json and model.safetensors; pickled checkpoints (.pt, .bin) are never opened",
        )
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)) and not str(name).startswith(("runs/", ".")):
        return _download(str(name))
    raise CheckpointError(f"there is no model at {name}", "a run, a checkpoint, or a Hugging Face id")


def _download(name: str) -> Path:
    """The local copy of a model on the Hugging Face Hub (safetensors and JSON only)."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=is_offline()))
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise CheckpointError(
            f"{name} is not on this disk and could not be downloaded: {_no_download(error)}",
            "a local folder, or a Hugging Face id and a connection",
            "a folder in its place (`neogpt list runs` names the runs here), or the same command with a connection",
        ) from error


def _no_download(error: Exception) -> str:
    """Why the Hub gave nothing, in words."""
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    if is_offline():
        return "HF_HUB_OFFLINE or NEOGPT_OFFLINE forbids the network"
    if isinstance(error, RepositoryNotFoundError):
        return "the Hub has no such model, or gives it only with a token (HF_TOKEN)"
    if isinstance(error, LocalEntryNotFoundError):
        return "the Hub cannot be reached"
    return str(error).partition("\n")[0] or type(error).__name__


def load_model(name: str | Path) -> GPT2:
    """The model that `name` means (see `resolve`), in float32 on the CPU, in eval mode."""
    return load_pretrained(resolve(name)).eval()


def load_tokenizer(name: str | Path) -> Tokenizer:
    """The tokenizer beside the model that `name` means."""
    return Tokenizer.load(resolve(name))
