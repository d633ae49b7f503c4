"""What a run is: frozen dataclasses, filled by recipe < file < flag, hashed and written beside the run.

The text under each field is its `--help`. A run is a pure function of these values, so every value that the
machine decides (device, dtype, threads) is resolved before the run starts and written down with the rest.
"""

import dataclasses
import hashlib
import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tomli_w
import tyro
from tyro.conf import FlagConversionOff, Suppress, arg

from neogpt import atomic, plugins, renamed
from neogpt.data import source as sources
from neogpt.data.source import Source
from neogpt.errors import ConfigError


def _between(settings: object, name: str, low: float, high: float = math.inf) -> None:
    """ConfigError unless the setting's value lies there; NaN and infinity never do."""
    value = getattr(settings, name)
    room = f"from {low} to {high}" if math.isfinite(high) else f"a number from {low} up"
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(f"{name} is {value}", room, code="config.out_of_range")


@dataclass(frozen=True, kw_only=True)
class GPT2Config:
    """The shape of a GPT-2, in Hugging Face's names; the defaults are the 124M model."""

    n_layer: int = 12
    """Transformer blocks."""
    n_head: int = 12
    """Attention heads a block."""
    n_embd: int = 768
    """Width of the residual stream."""
    n_positions: int = 1024
    """Longest context, in tokens."""
    vocab_size: int = 50257
    """Token ids; a run takes as many as its tokenizer has."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _between(self, item.name, 1)
        if self.n_embd % self.n_head:
            heads = (h for h in range(1, self.n_embd + 1) if self.n_embd % h == 0)
            near = min(heads, key=lambda h: abs(h - self.n_head))
            what = f"n_embd {self.n_embd} does not divide into n_head {self.n_head} heads"
            raise ConfigError(
                what, "n_embd to be a multiple of n_head", f"--model.n-head {near}", code="config.bad_shape"
            )


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Base of an objective's options; each class stands in `config.py` of that objective's folder."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How text becomes tokens and shards."""

    tokenizer: str = "gpt2"
    """`gpt2`, `trained` (train one on this source), or a folder with a tokenizer.json."""
    vocab_size: int = 1024
    """Ids of a `trained` tokenizer; the others bring their own."""
    val_fraction: float = 0.005
    """Share of documents held out for validation, chosen by a hash of their text."""
    shuffle_seed: int = 0
    """Seed of the global document shuffle."""
    shard_tokens: int = 100_000_000
    """Tokens a shard file."""


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """What one optimizer step sees."""

    size: int = 32
    """Sequences (pretrain), examples (sft), pairs (dpo) or prompts (rl) a step, over all processes."""
    micro_batches: int = 4
    """Parts a step is cut into. They fix the result: 1 to that many processes compute the same bits."""


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Optimizer and learning rate."""

    name: Literal["adamw", "muon"] = "adamw"
    """Update rule. muon: Muon for the blocks' matrices, AdamW for the rest."""
    lr: float = 6e-4
    """Peak learning rate."""
    beta1: float = 0.9
    """Decay of the gradient's running mean."""
    beta2: float = 0.95
    """Decay of the squared gradient's running mean."""
    muon_momentum: float = 0.95
    """Momentum of Muon."""
    embedding_lr_scale: float = 1.0
    """Learning rate of the embeddings beside Muon, as a share of lr."""
    vector_lr_scale: float = 1.0
    """Learning rate of biases and LayerNorms beside Muon, as a share of lr."""
    eps: float = 1e-8
    """Added to the denominator of the update."""
    weight_decay: float = 0.1
    """Decoupled decay of matrices (never of biases and LayerNorms)."""
    max_grad_norm: float = 1.0
    """Largest norm of the whole gradient; 0: no clipping."""
    schedule: Literal["cosine", "wsd", "constant"] = "cosine"
    """Shape of the learning rate after warm-up; it always ends where the run ends."""
    warmup_ratio: float = 0.02
    """Share of the run spent rising from 0 to the peak."""
    decay_ratio: float = 0.4
    """Share of the run spent falling at the end (wsd)."""
    min_lr_ratio: float = 0.1
    """Learning rate at the end, as a share of the peak."""

    def __post_init__(self) -> None:
        for name in ("lr", "eps", "weight_decay", "max_grad_norm", "embedding_lr_scale", "vector_lr_scale"):
            _between(self, name, 0)
        for name in ("beta1", "beta2", "muon_momentum"):
            _between(self, name, 0, 1 - 1e-9)
        for name in ("warmup_ratio", "decay_ratio", "min_lr_ratio"):
            _between(self, name, 0, 1)


BEST_METRIC = ("val_loss:low",)


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """What is measured while training."""

    every: int = 100
    """Steps between evaluations; the last step is always evaluated. 0: only the last."""
    names: tuple[str, ...] = ()
    """Evals beside the held-out loss, some with options: hellaswag:limit=100,style=lm-eval (`neogpt list evals`)."""
    val_samples: int = 512
    """Held-out sequences, examples or pairs that the validation loss is taken over; 0: no validation."""
    patience: int = 0
    """End after so many evaluations in a row without a better one, each of which saves; the best is kept. 0: never."""
    best_metric: tuple[str, ...] = BEST_METRIC
    """Scores that say which evaluation is the best (NAME, or NAME:low where low is good): their sum, low ones less."""
    guardrails: tuple[str, ...] = ()
    """Scores that must not fall while something else is learnt (EVAL/SCORE, :low behind it where low is good)."""
    guardrail_tolerance: float = 0.03
    """How much one may worsen (:LIMIT behind it: its own) beyond what chance explains before the run stops."""

    def __post_init__(self) -> None:
        for name in ("every", "val_samples", "patience", "guardrail_tolerance"):
            _between(self, name, 0)
        if self.patience and not (self.every and self.val_samples and self.best_metric):
            what = f"eval.patience is {self.patience}, but nothing is evaluated on the way, or there is no best_metric"
            raise ConfigError(
                what,
                "evaluations with held-out samples",
                "--eval.every 100 --eval.val-samples 512",
                code="config.bad_setting",
            )


@dataclass(frozen=True, kw_only=True)
class SaveConfig:
    """Which checkpoints are kept."""

    every: int = 500
    """Steps between checkpoints; the last step is always saved. 0: only the last."""
    keep_last: int = 2
    """How many of the newest to keep."""
    keep_every: int = 0
    """Keep also each one at a multiple of this many steps; 0: none."""
    keep_best: bool = True
    """Keep also the best one (`--eval.best-metric`: by default that with the lowest held-out loss)."""
    background: bool = True
    """Write while training goes on, from a copy in memory (on a GPU: of the host). False: training waits."""

    def __post_init__(self) -> None:
        for name in ("every", "keep_last", "keep_every"):
            _between(self, name, 0)


HORIZONS = ("steps", "tokens", "hours")
"""The settings that say how long a run is; one of them is set."""

ObjectiveT = TypeVar("ObjectiveT", bound=ObjectiveConfig)
SourceT = TypeVar("SourceT", bound=Source)


@dataclass(frozen=True, kw_only=True)
class RunConfig(Generic[ObjectiveT, SourceT]):
    """One training run. Its recipe gives the defaults."""

    recipe: Suppress[str]
    """The recipe these values began as."""
    stage: Suppress[str]
    """The objective's name: pretrain, sft, dpo, ..."""
    init_from: Annotated[str, arg(name="from")] = ""
    """Run, checkpoint or Hugging Face directory to start from; empty: random weights."""
    init: Literal["gpt2", "zero-residual"] = "gpt2"
    """First weights. zero-residual: GPT-2's, but what writes to the residual stream begins at 0."""
    seed: int = 0
    """Seed of the initial weights and of the data order."""
    steps: int = 0
    """Optimizer steps; the learning-rate schedule ends there."""
    tokens: int = 0
    """Training tokens, in place of steps (pretrain)."""
    hours: float = 0.0
    """Hours of training, in place of steps: a few steps are timed first, and the run gets as many as fit."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:0, mps, ..."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the matrix products; weights and optimizer stay float32."""
    compile: bool = False
    """Compile the model's blocks with torch.compile; evaluation and generation use the plain ones."""
    activation_checkpointing: bool = False
    """Keep only what enters a block and run the block again for its gradient: less memory, a third more work."""
    threads: int = 0
    """CPU threads a process (part of the result's bits); 0: all cores, shared by the processes here."""
    reduction: Literal["exact", "fast"] = "exact"
    """exact: one fixed tree of sums, equal bits on any number of processes. fast: summed while the backward runs."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """ddp: each process holds the whole model. fsdp: a part of weights, gradients, optimizer (--reduction fast)."""
    spike_sigma: float = 0.0
    """Skip steps whose loss lies this many deviations above its running mean; 0: never skip."""
    trackers: tuple[str, ...] = ("tensorboard",)
    """Who else shows the numbers: tensorboard, wandb, trackio, several, or none."""
    model: GPT2Config = field(default_factory=GPT2Config)
    source: SourceT
    data: DataConfig = field(default_factory=DataConfig)
    objective: ObjectiveT
    batch: BatchConfig = field(default_factory=BatchConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    save: SaveConfig = field(default_factory=SaveConfig)

    def __post_init__(self) -> None:
        for name in ("seed", *HORIZONS, "threads", "spike_sigma"):
            _between(self, name, 0)


AnyRun = RunConfig[ObjectiveConfig, Source]


def to_dict(config: AnyRun) -> dict[str, Any]:
    """The configuration as plain nested values, as TOML and JSON can hold them."""
    return {**dataclasses.asdict(config), "source": sources.to_dict(config.source)}


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted names: {"optim": {"lr": 1}} -> {"optim.lr": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def digest(values: dict[str, Any]) -> str:
    """sha256 of values, the same whatever their order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def save(config: AnyRun, path: Path) -> None:
    """Write the configuration as TOML that `parse(file=...)` reads back to the same values."""
    atomic.write_text(path, tomli_w.dumps(to_dict(config)))


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file; ConfigError says where it is not TOML."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no file {path}",
            "settings as TOML",
            "--dry-run prints some",
            code="config.no_such_file",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not TOML: {error}", "lines such as `steps = 100`", code="config.not_toml"
        ) from None


def parse(
    default: AnyRun, args: Sequence[str] = (), file: Path | None = None, prog: str = "neogpt", typed: str = ""
) -> AnyRun:
    """The recipe's values, then the file's over them, then the flags' over those.

    `typed` names a source: another one than the file's or recipe's begins with its own defaults.

    Errors: ConfigError for a setting that is not there (the nearest is named) or has another name now. A wrong flag
    or value ends the process with the usual message and code 2, and `--help` with 0, as command lines do.
    """
    values = flatten(read_toml(file)) if file else {}
    source, values = sources.select(default.source, values, typed)
    default = dataclasses.replace(default, source=source)
    from_file = _file_flags(default, values, str(file))
    renamed.check_flags(args, flatten(to_dict(default)))
    kind: Any = RunConfig.__class_getitem__((type(default.objective), type(default.source)))  # type: ignore[attr-defined]
    flags = [*from_file, *args]
    config: AnyRun = tyro.cli(kind, default=default, args=flags, prog=prog, config=(FlagConversionOff,))
    return _horizon(config, args, from_file)


def _horizon(config: AnyRun, *sources: Sequence[str]) -> AnyRun:
    """The same settings with the horizon that the first source names alone: a recipe's or file's own gives way.

    Two that are named side by side stay, and are an error when the run starts.
    """
    for flags in sources:
        named = {flag.partition("=")[0] for flag in flags}
        asked = [name for name in HORIZONS if f"--{name}" in named and getattr(config, name)]
        if asked:
            zeros: Any = {name: type(getattr(config, name))() for name in HORIZONS if name not in asked}
            return dataclasses.replace(config, **zeros)
    return config


def _file_flags(default: AnyRun, values: dict[str, Any], file: str) -> list[str]:
    known = flatten(to_dict(default))
    flags = []
    for name, value in values.items():
        renamed.check(name, value, known, file)
        if name not in known:
            raise plugins.unknown("setting", name, list(known)).within(file)
        if name in ("recipe", "stage"):
            if value != known[name]:
                raise ConfigError(
                    f"{file} is for {name} {value!r}",
                    f"{known[name]!r}, which runs here",
                    code="config.another_stage",
                )
            continue
        flag = f"--{'from' if name == 'init_from' else name}"
        flags += [flag, *map(str, value)] if isinstance(value, list) else [f"{flag}={value}"]
    return flags
