"""Checkpoints: a Hugging Face GPT-2 directory plus what training needs to go on, whole or absent.

    step-00001000/  config.json generation_config.json model.safetensors tokenizer.json ... README.md
                    trainer.safetensors (optimizer, objective)  trainer.json (step, config, hashes)  MANIFEST.json

A folder counts only when every file matches the manifest, which is written last. Nothing is ever unpickled.
"""

import contextlib
import errno
import json
import logging
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from neogpt import atomic, ledger
from neogpt.config import WATCHED, GPT2Config, SaveConfig, read_toml
from neogpt.errors import CheckpointError
from neogpt.model import GPT2, load_pretrained, save_weights
from neogpt.paths import RunDir, is_offline
from neogpt.plan.room import kept_steps as kept_steps
from neogpt.tokenizer import Tokenizer

OBJECTIVE = "objective/"
"""Before the names of the objective's own tensors, which stand beside the optimizer's."""
_STEP = re.compile(r"step-(\d{8,})")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainerState:
    """What a run needs beside weights and optimizer; order and draws follow from the config and `step`."""

    step: int
    """Updates done."""
    tokens: int
    """Training tokens seen."""
    config: dict[str, Any]
    """The resolved run configuration."""
    data_hash: str
    """Hash of the samples."""
    origin: str
    """Hash of the starting model, or of the tokenizer where the weights began at random."""
    versions: dict[str, str]
    """Of torch and of NeoGPT, for the reader."""


@dataclass(frozen=True)
class Content:
    """All that a checkpoint holds but the tokenizer; its tensors may be the run's own or a copy of them."""

    state: TrainerState
    model: GPT2Config
    weights: dict[str, torch.Tensor]
    """By Hugging Face's names, whole (never a shard)."""
    optimizer: dict[str, torch.Tensor]
    """As `optim.state_tensors` names them, whole."""

    @property
    def n_bytes(self) -> int:
        """Of all tensors."""
        tensors = [*self.weights.values(), *self.optimizer.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def save(run: RunDir, content: Content, tokenizer: Tokenizer) -> Path:
    """Write the checkpoint of `content.state.step` and return its folder, once it is durable.

    Errors: CheckpointError when the disk is full or refuses; older checkpoints are untouched by that.
    """
    state = content.state
    folder = run.checkpoint(state.step)
    with (
        disk_errors(run, f"the checkpoint of step {state.step}", content.n_bytes),
        atomic.directory(folder, failpoints="checkpoint") as temporary,
    ):
        save_weights(content.model, content.weights, temporary, tokenizer.eot_id)
        atomic.failpoint("checkpoint.model")
        tokenizer.save(temporary, content.model.n_positions)
        (temporary / "README.md").write_bytes(card(state).encode())
        _save_tensors(content.optimizer, temporary / "trainer.safetensors")
        atomic.failpoint("checkpoint.optimizer")
        text = json.dumps(asdict(state), indent=2, sort_keys=True) + "\n"
        (temporary / "trainer.json").write_bytes(text.encode())
    return folder


@contextlib.contextmanager
def disk_errors(run: RunDir, what: str, need_bytes: int = 0) -> Iterator[None]:
    """Turn a disk's refusal to write `what` into a CheckpointError with figures and what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        there = next(
            (folder for folder in (run.root, *run.root.absolute().parents) if folder.is_dir()), Path("/")
        )
        expected, remedy = _wanted(error, there, need_bytes)
        raise CheckpointError(
            f"{what} could not be written to {run.root}: {error}",
            f"{expected}; earlier checkpoints are intact",
            f"{remedy}, then run the same command with --resume auto",
        ) from error


def _wanted(error: Exception, there: Path, need_bytes: int) -> tuple[str, str]:
    """What a disk that refused should have, and what to do; `there`: the lowest folder on the way that exists."""
    if isinstance(error, PermissionError) or getattr(error, "errno", None) == errno.EROFS:
        return "a folder that you may write to", f"allow it in {there}, or name another folder with --run"
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
        name = error.filename or "what is in the way"
        return (
            "folders all the way, and no file in the way",
            f"move {name}, or name another folder with --run",
        )
    free = shutil.disk_usage(there).free / 1e6
    need = f"about {need_bytes / 1e6:.1f} MB" if need_bytes else "room"
    return f"{need} on a disk that has {free:.1f} MB free", "free some space"


def _save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    path.touch()
    mode = path.stat().st_mode  # safetensors makes files private; the umask decides here
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    path.chmod(mode)


def steps(run: RunDir) -> list[int]:
    """The steps that have a checkpoint folder, lowest first (by number, never by name)."""
    found = (step_of(path) for path in run.checkpoints.glob("step-*"))
    return sorted(step for step in found if step is not None)


def newest(run: RunDir, note: Callable[[str], None] = lambda line: None) -> Path | None:
    """The newest checkpoint that verifies, or None where there is none at all.

    Each folder that is passed over is told to `note`. CheckpointError when folders exist and none verifies.
    """
    found = steps(run)
    skipped = []
    for step in reversed(found):
        folder = run.checkpoint(step)
        try:
            atomic.verify_manifest(folder, CheckpointError)
            return folder
        except CheckpointError as error:
            skipped.append(f"skipped {folder.name}: {error.what}")
            note(skipped[-1])
    if found:
        reasons = "".join(f"\n    {line}" for line in skipped[:5])
        raise CheckpointError(
            f"none of the {len(found)} checkpoints in {run.checkpoints} is whole:{reasons}",
            "one whose files are as its manifest says",
            "a copy of one, or a new run with another --run",
        )
    return None


def step_of(folder: Path) -> int | None:
    """The step in a checkpoint folder's name; None when it is no such name."""
    match = _STEP.fullmatch(folder.name)
    return int(match[1]) if match else None


def load_state(folder: Path) -> tuple[TrainerState, dict[str, torch.Tensor]]:
    """The trainer's state and the optimizer's tensors of a verified checkpoint folder."""
    try:
        state = TrainerState(**json.loads((folder / "trainer.json").read_text("utf-8")))
        return state, load_file(folder / "trainer.safetensors")
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} cannot be resumed: {error}",
            "a checkpoint with trainer.json and trainer.safetensors",
            f"--from {folder} to start a new run from its weights",
        ) from error


def parted(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The objective's own tensors, by the objective's names, and the optimizer's."""
    own = {k.removeprefix(OBJECTIVE): v for k, v in tensors.items() if k.startswith(OBJECTIVE)}
    return own, {k: v for k, v in tensors.items() if not k.startswith(OBJECTIVE)}


def retain(run: RunDir, config: SaveConfig) -> list[int]:
    """Delete the checkpoints that the policy does not keep; returns their steps."""
    found = steps(run)
    kept = set(kept_steps(found, _best(run, found) if config.keep_best else None, config))
    gone = [step for step in found if step not in kept]
    remove(run, gone)
    return gone


def remove(run: RunDir, gone: Iterable[int]) -> None:
    """Delete checkpoints; each is first renamed, so that an interruption never leaves half of one."""
    for step in gone:
        folder = run.checkpoint(step)
        doomed = folder.with_name(f"{folder.name}.tmp-old-{uuid.uuid4().hex[:8]}")
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _best(run: RunDir, found: list[int]) -> int | None:
    """The saved step with the best evaluation by what the run watches (`--eval.watch`), the first of equal ones."""
    watch = _eval_settings(run).get("watch", WATCHED)
    totals = ledger.totals(ledger.read(run.metrics), watch)
    scores = {step: score for step, score in totals.items() if step in found}
    return max(scores, key=lambda step: scores[step]) if scores else None


def _eval_settings(run: RunDir) -> dict[str, Any]:
    return dict(read_toml(run.config).get("eval", {})) if run.config.is_file() else {}


def model_of(run: RunDir) -> Path | None:
    """The checkpoint that a run stands for: its newest whole one; with `--eval.patience`, the best that is kept."""
    found = newest(run, _log.warning)
    if found and _eval_settings(run).get("patience"):
        best = _best(run, steps(run))
        if best is not None:
            atomic.verify_manifest(run.checkpoint(best), CheckpointError, _another(run.checkpoint(best)))
            return run.checkpoint(best)
    return found


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


def card(state: TrainerState) -> str:
    """The model card (README.md) of a checkpoint, in Hugging Face's form."""
    config = state.config
    base = f"\nIt began as `{config['init_from']}`." if config["init_from"] else ""
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [gpt2, neogpt, {config["stage"]}]
---

# {config["recipe"]}: {config["stage"]}

A GPT-2 trained with NeoGPT {state.versions["neogpt"]}: stage `{config["stage"]}` of the recipe `{config["recipe"]}`,
{state.step} steps, {state.tokens:,} tokens, data source `{config["source_name"]}`.{base}
The settings stand in `trainer.json`.
"""
