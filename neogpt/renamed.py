"""Settings that had another name: their errors say what to type now. There are no aliases."""

from collections.abc import Collection, Sequence

from neogpt.errors import ConfigError

RENAMED: dict[str, tuple[str, ...]] = {
    "track": ("trackers",),
    "optim.clip": ("optim.max_grad_norm",),
    "optim.warmup": ("optim.warmup_ratio",),
    "optim.decay": ("optim.decay_ratio",),
    "optim.final": ("optim.min_lr_ratio",),
    "optim.adamw_share": ("optim.embedding_lr_scale", "optim.vector_lr_scale"),
    "eval.watch": ("eval.best_metric",),
    "eval.hellaswag_limit": ("eval.names hellaswag:limit=1000",),
    "eval.hellaswag_style": ("eval.names hellaswag:style=lm-eval",),
    "eval.hellaswag_data": ("eval.names hellaswag:data=FILE",),
    "eval.canaries": ("eval.guardrails",),
    "eval.canary_drop": ("eval.guardrail_tolerance",),
    "objective.sequence_tokens": ("objective.seq_len",),
    "objective.growth": ("objective.seq_len_warmup",),
    "objective.alone": ("objective.intra_document_mask",),
    "objective.length_normalised": ("objective.length_normalized",),
    "objective.sft": ("objective.sft_coef",),
    "objective.replay": ("objective.pretrain_coef", "objective.sft_coef"),
    "objective.replay_rows": ("objective.pretrain_rows", "objective.sft_rows"),
    "objective.replay_tokens": ("objective.pretrain_seq_len",),
    "objective.group": ("objective.num_generations",),
    "objective.max_new_tokens": ("objective.max_completion_length",),
    "objective.resample": ("objective.dynamic_sampling",),
    "objective.mask_truncated": ("objective.mask_truncated_completions",),
    "source_name": ("source.kind",),
    "source.pairs": ("source.preferences",),
    "source.max_refused": ("source.max_filtered",),
    "source.rehearse": ("source.sft_of",),
}
"""Settings that had another name: an error names the new one (of several, those that the stage has)."""
VALUES = {("optim.schedule", "trapezoid"): "wsd", ("source.kind", "practice"): "rl-prompts"}
"""Values that had another name."""


def check(name: str, value: object, known: Collection[str], place: str) -> None:
    """ConfigError for a setting of a file, by its dotted name, that had another name or value."""
    if name in RENAMED and name not in known:
        raise _error(name, known).within(place)
    if new := VALUES.get((name, str(value))):
        raise ConfigError(f"{place}: {name} {value!r} has another name now", repr(new), code="config.renamed")


def check_flags(flags: Sequence[str], known: Collection[str]) -> None:
    """ConfigError for a typed flag that had another name."""
    for flag in flags:
        name = flag.partition("=")[0].removeprefix("--").replace("-", "_")
        if flag.startswith("--") and name in RENAMED and name not in known:
            raise _error(name, known)


def _error(name: str, known: Collection[str]) -> ConfigError:
    new = [now for now in RENAMED[name] if now in known] or RENAMED[name]
    flags = " and ".join(f"--{now.replace('_', '-')}" for now in new)
    return ConfigError(
        f"the setting {name} has another name now", " and ".join(new), flags, code="config.renamed"
    )
