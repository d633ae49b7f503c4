"""From a configuration to a run that stands at its first step, or at the step that it had reached."""

import contextlib
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from neogpt import (
    atomic,
    batching,
    checkpoint,
    compared,
    config,
    ledger,
    model_store,
    optim,
    plugins,
    retention,
)
from neogpt.config import AnyRun
from neogpt.data.build_tokenizer import tokenizer_for
from neogpt.errors import CheckpointError, ConfigError, DataError
from neogpt.model import GPT2, load_pretrained
from neogpt.objectives.base import Objective
from neogpt.paths import RunDir
from neogpt.tokenizer import Tokenizer
from neogpt.train.device import autocast, resolve
from neogpt.train.parallel.base import ParallelStrategy
from neogpt.train.parallel.build import build_strategy
from neogpt.train.parallel.distributed import World

_MAY_CHANGE = (
    *("init_from", "device", "compile", "activation_checkpointing", "parallel", "save.", "trackers"),
    "reduction: 'exact' -> 'fast'",
)
"""Settings that a resumed run may change: they do not touch what is computed (`--from` is checked by hash). The
promise of equal bits can be given up on the way, but not be made for what lies behind."""


_MOST_UNUSED = 1024
"""Ids that a model may have beyond its tokenizer's: embeddings are padded to round numbers."""


@dataclass(kw_only=True)
class Start:
    """Everything that the loop needs."""

    run: AnyRun
    files: RunDir
    world: World
    model: GPT2
    tokenizer: Tokenizer
    objective: Objective
    strategy: ParallelStrategy
    named: list[tuple[str, torch.nn.Parameter]]
    optimizers: list[optim.Rule]
    step: int
    tokens: int
    base_model_hash: str
    """Hash of the starting model, or of the tokenizer where the weights began at random."""
    history: list[ledger.Row]
    """The metrics ledger up to `step`, the same in every process."""
    messages: list[str]
    """Warnings for the start: checkpoints that were passed over or removed, settings without effect."""


def prepare(run: AnyRun, files: RunDir, world: World, resume: str) -> Start:
    """Resolve the configuration, build data, model and optimizer, and take up a checkpoint if there is one.

    Errors: ConfigError (arithmetic, a run that exists), DataError, CheckpointError (nothing whole to resume,
    or settings and data that differ: each is named).
    """
    messages: list[str] = []
    folder = _checkpoint_to_resume(files, world, resume, messages)
    state, optimizer_tensors = checkpoint.load_state(folder) if folder else (None, {})
    run = resolve(_adopt(run, state), world.local_size)
    batching.validate(run, world.size)
    kind: type[Objective] = plugins.get("neogpt.objectives", run.stage, "objective").build
    if kind.holds_model:
        _validate_what_moves_the_model(run, world)
    if state:
        _validate_settings(run, state, _unknown_yet(run))
    torch.set_num_threads(run.threads)
    with world.main_first():
        model, tokenizer, base_model_hash = _starting_point(run)
        run = dataclasses.replace(run, model=model.config)
        objective = kind(run, tokenizer, model.config.n_positions)
    _validate_blind_patience(run, objective)
    run = dataclasses.replace(run, steps=_steps(run, objective), tokens=0)
    objective.run = run
    model.to(world.device)
    if state:
        _validate_settings(run, state)
        _validate_base_model(state, objective.data_hash, base_model_hash)
    with world.main_first() if objective.begins_on_disk else contextlib.nullcontext(), autocast(run):
        objective.begin(model)
    if folder:
        model.load_state_dict(load_pretrained(folder).state_dict())
    strategy = build_strategy(run, model, objective, world)
    named = list(model.named_parameters())
    optimizers = optim.build(named, run.optim, getattr(torch, run.dtype))
    own, others = checkpoint.parted(optimizer_tensors)
    objective.load_state(own)
    optim.load_state_tensors(optimizers, named, others)
    if world.is_main:
        with checkpoint.disk_errors(files, "the run's files"):
            _write_down(run, files, state.step if state else -1, messages)
    world.barrier()
    if run.compile and objective.is_packed:
        messages.append(
            "--compile does nothing for packed rows, whose shapes change with every batch: they run as without it"
        )
    history = ledger.read(files.metrics)
    world.barrier()  # nobody adds a row before all have read: what they decide from it must be the same
    model.train()
    step, tokens = (state.step, state.tokens) if state else (0, 0)
    return Start(
        run=run,
        files=files,
        world=world,
        model=model,
        tokenizer=tokenizer,
        objective=objective,
        strategy=strategy,
        named=named,
        optimizers=optimizers,
        step=step,
        tokens=tokens,
        base_model_hash=base_model_hash,
        history=history,
        messages=messages,
    )


def _checkpoint_to_resume(files: RunDir, world: World, resume: str, messages: list[str]) -> Path | None:
    """The main process's choice, the same on all: one may verify while another would see a newer folder."""
    chosen = np.array([[-1.0]])
    if world.is_main:
        if not resume and (files.metrics.exists() or retention.steps(files)):
            raise ConfigError(
                f"there is already a run in {files.root}",
                "a new folder, or a run to go on with",
                "--resume auto, or --run with another folder",
                code="run.already_there",
            )
        if resume == "auto":
            found = retention.newest(files, messages.append)
            chosen[0, 0] = _step_of(files, found) if found else -1
        elif resume:
            chosen[0, 0] = _step_of(files, Path(resume))
            atomic.verify_manifest(Path(resume), CheckpointError)
    step = int(world.gather(chosen)[0, 0])
    return files.checkpoint(step) if step >= 0 else None


def _step_of(files: RunDir, folder: Path) -> int:
    step = retention.step_of(folder)
    if step is None or folder.resolve().parent != files.checkpoints.resolve():
        raise CheckpointError(
            f"{folder} is no checkpoint of the run {files.root}",
            f"a folder in {files.checkpoints}",
            f"--resume auto, or --from {folder} to begin a new run with its weights",
            code="checkpoint.other_run",
        )
    return step


def _adopt(run: AnyRun, state: checkpoint.TrainerState | None) -> AnyRun:
    """On resume, what was left to the machine stays as the run's first machine decided it, and `--from` stays."""
    if state is None:
        return run
    old = state.config
    if run.hours:
        run = dataclasses.replace(run, steps=old["steps"], hours=0.0)
    return dataclasses.replace(
        run,
        dtype=old.get("dtype", run.dtype) if run.dtype == "auto" else run.dtype,
        threads=run.threads or old.get("threads", 0),
        init_from=run.init_from or old.get("init_from", ""),
    )


def _starting_point(run: AnyRun) -> tuple[GPT2, Tokenizer, str]:
    """The weights and tokenizer that the stage starts from, and a hash of where they come from."""
    if run.init_from:
        folder = model_store.resolve(run.init_from)
        model, tokenizer = model_store.load_model(folder), model_store.load_tokenizer(folder)
        _validate_tokenizer(folder.path, tokenizer, model.config.vocab_size)
        return model, tokenizer, folder.weights_hash()
    if run.stage != "pretrain":
        raise ConfigError(
            f"{run.stage} has no model to start from",
            "a pretrained run, checkpoint or Hugging Face model",
            "--from runs/NAME",
            code="config.no_starting_model",
        )
    tokenizer = tokenizer_for(run.data, run.source)
    shape = dataclasses.replace(run.model, vocab_size=tokenizer.vocab_size)
    model = GPT2(shape, run.seed)
    if run.init != "gpt2":
        model.init_weights(run.seed, run.init)
    return model, tokenizer, tokenizer.fingerprint


def _validate_tokenizer(folder: Path, tokenizer: Tokenizer, vocab_size: int) -> None:
    """CheckpointError where a tokenizer cannot be the one that the model learned by: its texts would be noise.

    A folder with a manifest has been checked by now; in others config.json says where end-of-text stands. An id that
    the model has not is only the default of the library that wrote it.
    """
    if not 0 <= vocab_size - tokenizer.vocab_size <= _MOST_UNUSED:
        raise CheckpointError(
            f"{folder}: its tokenizer has {tokenizer.vocab_size} ids and its model {vocab_size}",
            f"a tokenizer that fits the model (up to {_MOST_UNUSED:,} ids of a model may stand for nothing)",
            code="model.tokenizer_differs",
        )
    ends = json.loads((folder / "config.json").read_text("utf-8")).get("eos_token_id")
    known = {
        end
        for end in (ends if isinstance(ends, list) else [ends])
        if isinstance(end, int) and 0 <= end < vocab_size
    }
    if known and tokenizer.eot_id not in known:
        raise CheckpointError(
            f"{folder}: end-of-text is {tokenizer.eot_id} in its tokenizer and {ends} in its config.json",
            "the tokenizer that the model was trained with",
            "put that one's files there, or, if it is the right one, its id as eos_token_id into config.json",
            code="model.tokenizer_differs",
        )


def _validate_blind_patience(run: AnyRun, objective: Objective) -> None:
    """ConfigError for early stopping by held-out scores where nothing is held out: it would never stop."""
    watched = [
        name for name in ledger.signs(run.eval.best_metric) if name == "val_loss" or name.startswith("val/")
    ]
    if run.eval.patience and watched and not objective.n_validation:
        raise ConfigError(
            f"eval.patience is {run.eval.patience}, but no sample is held out, so there is no {watched[0]}",
            "held-out samples, or a run that does not wait for them",
            "--objective.val-fraction 0.2 (more of few rows), or --eval.patience 0",
            code="config.no_validation",
        )


def _validate_what_moves_the_model(run: AnyRun, world: World) -> None:
    """ConfigError for a model in parts, or timed steps, under an objective that answers with the live model."""
    if run.parallel == "fsdp" and world.size > 1:
        raise ConfigError(
            f"{run.stage} samples from the model between steps, which fsdp holds in parts",
            "the whole model on each process",
            "--parallel ddp",
            code="config.fsdp_not_here",
        )
    if run.hours:
        raise ConfigError(
            f"{run.stage} keeps what the model answered, so no step can be timed beforehand",
            "a horizon in steps",
            "--steps 100",
            code="config.no_timing",
        )


def _steps(run: AnyRun, objective: Objective) -> int:
    """The horizon in updates, from --steps or --tokens; 0 where --hours will decide it (time_budget.py)."""
    if run.steps or run.hours:
        return run.steps
    if not objective.tokens_per_step:
        raise ConfigError(
            f"--tokens {run.tokens}, but a step of {run.stage} has no fixed number of them",
            "a horizon in steps",
            "--steps 1000",
            code="config.no_fixed_tokens",
        )
    return max(1, round(run.tokens / objective.tokens_per_step))


def _unknown_yet(run: AnyRun) -> tuple[str, ...]:
    """Settings that data and starting model will decide: they are compared once those are there."""
    horizon = ("steps",) if run.tokens else ()
    shape = ("model.",) if run.init_from else ("model.vocab_size",)
    return ("tokens", *horizon, *shape)


def _validate_settings(run: AnyRun, state: checkpoint.TrainerState, unknown: tuple[str, ...] = ()) -> None:
    """ConfigError that names each setting which is not as the checkpoint has it."""
    changed = [
        line
        for line in compared.differences(state.config, config.to_dict(run))
        if not line.startswith((*_MAY_CHANGE, *unknown))
    ]
    if changed:
        raise ConfigError(
            f"the run was made with other settings: {'; '.join(changed)}",
            "the same settings on resume",
            "those settings again, or a new run with --run and --from",
            code="run.other_settings",
        )


def _validate_base_model(state: checkpoint.TrainerState, data_hash: str, base_model_hash: str) -> None:
    """DataError or CheckpointError when the samples or the starting model are not those of the checkpoint."""
    if data_hash != state.data_hash:
        raise DataError(
            "the training data is not what the run was made with",
            f"data with the hash {state.data_hash[:12]}, found {data_hash[:12]}",
            "the old data, or a new run with --run and --from",
            code="run.other_data",
        )
    if base_model_hash != state.base_model_hash:
        raise CheckpointError(
            "the starting model (or tokenizer) is not the one that the run was made with",
            f"one with the hash {state.base_model_hash[:12]}, found {base_model_hash[:12]}",
            "--from with the checkpoint that it began as",
            code="run.other_model",
        )


def _write_down(run: AnyRun, files: RunDir, step: int, messages: list[str]) -> None:
    """The resolved configuration, and a folder in which nothing is later than `step`, where the run goes on."""
    files.root.mkdir(parents=True, exist_ok=True)
    for folder in (files.root, files.checkpoints):
        atomic.sweep(folder)
    later = [saved for saved in retention.steps(files) if saved > step]
    messages += [f"removed step {saved}: the run goes on from step {step}" for saved in later]
    checkpoint.remove(files, later)
    config.save(run, files.config)
    if files.metrics.exists():
        ledger.cut_back(files.metrics, step)
    if files.samples.exists():
        ledger.cut_back(files.samples, step if evaluated(ledger.read(files.metrics), step) else step - 1)


def evaluated(history: list[ledger.Row], step: int) -> bool:
    """Whether the metrics ledger has an evaluation of this step (its samples were written before it)."""
    return any(row.get("step") == step and "grad_norm" not in row for row in history)
