"""Checkpoints: a Hugging Face GPT-2 directory plus what training needs to go on, whole or absent.

    step-00001000/  config.json generation_config.json model.safetensors tokenizer.json ... README.md
                    trainer.safetensors (optimizer, objective)  trainer.json (step, config, hashes)  MANIFEST.json

A folder counts only when every file matches the manifest, which is written last. Nothing is ever unpickled.
"""

import contextlib
import errno
import json
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from neogpt import atomic
from neogpt.config import GPT2Config, SaveConfig
from neogpt.errors import CheckpointError
from neogpt.model import save_weights
from neogpt.paths import RunDir
from neogpt.retention import best, good, kept_steps, steps
from neogpt.tokenizer import Tokenizer

OBJECTIVE = "objective/"
"""Before the names of the objective's own tensors, which stand beside the optimizer's."""


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
    base_model_hash: str
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
            code="checkpoint.not_written",
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


def load_state(folder: Path) -> tuple[TrainerState, dict[str, torch.Tensor]]:
    """The trainer's state and the optimizer's tensors of a verified checkpoint folder."""
    try:
        values = json.loads((folder / "trainer.json").read_text("utf-8"))
        if "origin" in values:
            raise CheckpointError(
                f"{folder} was saved by an earlier NeoGPT, whose settings have other names",
                "a checkpoint of this version (CHANGELOG.md lists the names)",
                f"--from {folder} with another --run, to start a new run from its weights",
                code="checkpoint.old_settings",
            )
        state = TrainerState(**values)
        return state, load_file(folder / "trainer.safetensors")
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} cannot be resumed: {error}",
            "a checkpoint with trainer.json and trainer.safetensors",
            f"--from {folder} to start a new run from its weights",
            code="checkpoint.damaged",
        ) from error


def parted(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The objective's own tensors, by the objective's names, and the optimizer's."""
    own = {k.removeprefix(OBJECTIVE): v for k, v in tensors.items() if k.startswith(OBJECTIVE)}
    return own, {k: v for k, v in tensors.items() if not k.startswith(OBJECTIVE)}


def retain(run: RunDir, config: SaveConfig) -> list[int]:
    """Delete the checkpoints that the policy does not keep; returns their steps."""
    found = steps(run)
    kept = set(kept_steps(found, best(run, found) if config.keep_best else None, config))
    gone = [step for step in found if step not in kept | {good(run, found)}]
    remove(run, gone)
    return gone


def remove(run: RunDir, gone: Iterable[int]) -> None:
    """Delete checkpoints; each is first renamed, so that an interruption never leaves half of one."""
    for step in gone:
        folder = run.checkpoint(step)
        doomed = folder.with_name(f"{folder.name}.tmp-old-{uuid.uuid4().hex[:8]}")
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


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
{state.step} steps, {state.tokens:,} tokens, data source `{config["source"]["kind"]}`.{base}
The settings stand in `trainer.json`.
"""
