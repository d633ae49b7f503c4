"""From a configuration to a run that stands at its first step, or at the step that it had reached."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from neogpt import atomic, checkpoint, config, ledger, optim, plugins
from neogpt.config import AnyRun
from neogpt.data.vocabulary import tokenizer_for
from neogpt.errors import CheckpointError, ConfigError
from neogpt.model import GPT2
from neogpt.objectives._base import Objective
from neogpt.paths import RunDir
from neogpt.tokenizer import Tokenizer
from neogpt.train.device import autocast, resolve
from neogpt.train.distributed import World

_MAY_CHANGE = ("init_from", "device", "compile", "save.")
"""Settings that a resumed run may change: they do not touch what is computed (`--from` is checked by hash)."""


@dataclass
class Start:
    """Everything that the loop needs."""

    run: AnyRun
    files: RunDir
    world: World
    model: GPT2
    tokenizer: Tokenizer
    objective: Objective
    named: list[tuple[str, torch.nn.Parameter]]
    optimizers: list[torch.optim.Optimizer]
    step: int
    tokens: int
    data_hash: str
    skipped: list[str]
    """Checkpoints that were passed over, and why."""


def prepare(run: AnyRun, files: RunDir, world: World, resume: str) -> Start:
    """Resolve the configuration, build data, model and optimizer, and take up a checkpoint if there is one.

    Errors: ConfigError (arithmetic, a run that exists), DataError, CheckpointError (nothing whole to resume,
    or settings and data that differ: each is named).
    """
    skipped: list[str] = []
    folder = _checkpoint_to_resume(files, world, resume, skipped)
    state, optimizer_tensors = checkpoint.load_state(folder) if folder else (None, {})
    run = resolve(_adopt(run, state), world.local_size)
    world.share(run.batch.micro_batches)
    torch.set_num_threads(run.threads)
    with world.main_first():
        model, tokenizer, origin = _origin(run)
        run = dataclasses.replace(run, model=model.config)
        objective: Objective = plugins.get("neogpt.objectives", run.stage).build(
            run, tokenizer, model.config.n_positions
        )
    run = dataclasses.replace(run, steps=_steps(run, objective), tokens=0)
    model.to(world.device)
    data_hash = config.digest({"samples": objective.data_hash, "origin": origin})
    if state:
        _refuse_differences(run, state, data_hash)
    with autocast(run):
        objective.begin(model)
    named = list(model.named_parameters())
    optimizers = optim.build(named, run.optim)
    if folder and state:
        _take_up(folder, model, optimizers, named, optimizer_tensors)
    if world.is_main:
        _write_down(run, files, state.step if state else None)
    world.barrier()
    model.train()
    step, tokens = (state.step, state.tokens) if state else (0, 0)
    return Start(
        run, files, world, model, tokenizer, objective, named, optimizers, step, tokens, data_hash, skipped
    )


def _checkpoint_to_resume(files: RunDir, world: World, resume: str, skipped: list[str]) -> Path | None:
    """The main process's choice, the same on all: one may verify while another would see a newer folder."""
    chosen = np.array([[-1.0]])
    if world.is_main:
        if not resume and (files.metrics.exists() or checkpoint.steps(files)):
            raise ConfigError(
                f"there is already a run in {files.root}",
                "a new folder, or a run to go on with",
                "--resume auto, or --run with another folder",
            )
        if resume == "auto":
            found = checkpoint.newest(files, skipped.append)
            chosen[0, 0] = int(found.name.removeprefix("step-")) if found else -1
        elif resume:
            chosen[0, 0] = _step_of(files, Path(resume))
    step = int(world.gather(chosen)[0, 0])
    return files.checkpoint(step) if step >= 0 else None


def _step_of(files: RunDir, folder: Path) -> int:
    if folder.resolve().parent != files.checkpoints.resolve():
        raise CheckpointError(
            f"{folder} is no checkpoint of the run {files.root}",
            f"a folder in {files.checkpoints}",
            f"--resume auto, or --from {folder} to begin a new run with its weights",
        )
    atomic.verify_manifest(folder, CheckpointError)
    return int(folder.name.removeprefix("step-"))


def _adopt(run: AnyRun, state: checkpoint.TrainerState | None) -> AnyRun:
    """On resume, what was left to the machine stays as the run's first machine decided it."""
    if state is None:
        return run
    old = state.config
    return dataclasses.replace(
        run,
        dtype=old["dtype"] if run.dtype == "auto" else run.dtype,
        threads=run.threads or old["threads"],
    )


def _origin(run: AnyRun) -> tuple[GPT2, Tokenizer, str]:
    """The weights and tokenizer that the stage starts from, and a hash of where they come from."""
    if run.init_from:
        folder = checkpoint.resolve(run.init_from)
        model, tokenizer = checkpoint.load_model(folder), checkpoint.load_tokenizer(folder)
        if tokenizer.vocab_size > model.config.vocab_size:
            raise CheckpointError(
                f"{folder}: its tokenizer has {tokenizer.vocab_size} ids and its model {model.config.vocab_size}",
                "a tokenizer that fits the model",
            )
        return model, tokenizer, atomic.sha256_file(folder / "model.safetensors")
    if run.stage != "pretrain":
        raise ConfigError(
            f"{run.stage} has no model to start from",
            "a pretrained run, checkpoint or Hugging Face model",
            "--from runs/NAME",
        )
    tokenizer = tokenizer_for(run.data, run.source_name, run.source)
    shape = dataclasses.replace(run.model, vocab_size=tokenizer.vocab_size)
    return GPT2(shape, run.seed), tokenizer, tokenizer.fingerprint


def _steps(run: AnyRun, objective: Objective) -> int:
    """The horizon in updates, from --steps or --tokens."""
    if run.steps > 0 and run.tokens > 0:
        raise ConfigError("both --steps and --tokens are set", "one of them")
    if run.steps > 0:
        return run.steps
    if run.tokens > 0 and objective.tokens_per_step:
        return max(1, round(run.tokens / objective.tokens_per_step))
    raise ConfigError(f"{run.steps} steps and {run.tokens} tokens", "a horizon", "--steps 1000")


def _refuse_differences(run: AnyRun, state: checkpoint.TrainerState, data_hash: str) -> None:
    changed = [
        line
        for line in config.differences(state.config, config.to_dict(run))
        if not line.startswith(_MAY_CHANGE)
    ]
    if changed:
        raise ConfigError(
            f"the run was made with other settings: {'; '.join(changed)}",
            "the same settings on resume",
            "those settings again, or a new run with --run and --from",
        )
    if data_hash != state.data_hash:
        raise CheckpointError(
            "the training data or the starting model is not the one that the run was made with",
            f"data hash {state.data_hash[:12]}, found {data_hash[:12]}",
            "the old data, or a new run with --from",
        )


def _take_up(
    folder: Path,
    model: GPT2,
    optimizers: list[torch.optim.Optimizer],
    named: list[tuple[str, torch.nn.Parameter]],
    optimizer_tensors: dict[str, torch.Tensor],
) -> None:
    weights = checkpoint.load_model(folder).state_dict()
    model.load_state_dict(weights)
    optim.load_state_tensors(optimizers, named, optimizer_tensors)


def _write_down(run: AnyRun, files: RunDir, step: int | None) -> None:
    """The resolved configuration, and ledgers that end where the run goes on."""
    files.root.mkdir(parents=True, exist_ok=True)
    atomic.sweep(files.checkpoints)
    config.save(run, files.config)
    for path in (files.metrics, files.samples):
        if path.exists():
            ledger.cut_back(path, step if step is not None else -1)
