"""The embedded default: a 0.9M-parameter GPT-2 grown in a small closed world, in minutes, on two CPU cores."""

import dataclasses

from neogpt.config import (
    AnyRun,
    BatchConfig,
    DataConfig,
    EvalConfig,
    GPT2Config,
    OptimConfig,
    RunConfig,
    SaveConfig,
)
from neogpt.data.sources import tinyworld
from neogpt.objectives import dpo as dpo_objective
from neogpt.objectives import pretrain as pretrain_objective
from neogpt.objectives import rl as rl_objective
from neogpt.objectives import sft as sft_objective

_MODEL = GPT2Config(n_layer=4, n_head=4, n_embd=128, n_positions=128, vocab_size=1344)
_DATA = DataConfig(tokenizer="trained", vocab_size=1344, val_fraction=0.01)


GUARDRAILS = (
    "tinyworld/recall",
    "tinyworld/asked",
    "tinyworld/never_asked",
    "tinyworld/in_context",
    "tinyworld/how_to",
    "tinyworld/stop",
    "tinyworld/harmful_refusal",
    "tinyworld/over_refusal_contrast:low",
    "tinyworld/over_refusal_kind:low",
    "tinyworld/over_refusal_plain:low",
    "tinyworld/over_refusal_question:low",
    "guardrail/stop",
    "guardrail/distinct_2",
    "guardrail/kl:low:0.2",
    "val_loss:low",
)
"""What learning by reward must not lose."""


def pretrain() -> AnyRun:
    """Read the world's book until its facts are known."""
    return RunConfig(
        recipe="tinyworld",
        stage="pretrain",
        steps=200,
        model=_MODEL,
        source=tinyworld.Tinyworld(),
        data=_DATA,
        objective=pretrain_objective.Config(seq_len=96, intra_document_mask=True),
        batch=BatchConfig(size=16, micro_batches=4),
        optim=OptimConfig(name="muon", lr=2e-2, warmup_ratio=0.05, min_lr_ratio=0.0, weight_decay=0.1),
        eval=EvalConfig(every=100, names=("tinyworld",), val_samples=64),
        save=SaveConfig(every=100),
    )


def sft() -> AnyRun:
    """Learn to answer, and to stop, from questions about some of the people."""
    return RunConfig(
        recipe="tinyworld",
        stage="sft",
        steps=110,
        model=_MODEL,
        source=tinyworld.Tinyworld(),
        data=_DATA,
        objective=sft_objective.Config(
            max_tokens=128, pretrain_coef=0.5, pretrain_rows=8, pretrain_intra_document_mask=True
        ),
        batch=BatchConfig(size=32, micro_batches=4),
        optim=OptimConfig(name="muon", lr=5e-3, warmup_ratio=0.05, min_lr_ratio=0.0, weight_decay=0.1),
        eval=EvalConfig(every=55, names=("tinyworld",), val_samples=128),
        save=SaveConfig(every=100),
    )


def dpo() -> AnyRun:
    """Learn to refuse what harms, and only that."""
    return RunConfig(
        recipe="tinyworld",
        stage="dpo",
        steps=130,
        model=_MODEL,
        source=tinyworld.Tinyworld(),
        data=_DATA,
        objective=dpo_objective.Config(
            max_tokens=128,
            beta=0.1,
            sft_coef=0.6,
            pretrain_coef=0.5,
            pretrain_rows=8,
            pretrain_intra_document_mask=True,
        ),
        batch=BatchConfig(size=16, micro_batches=4),
        optim=OptimConfig(name="muon", lr=6e-3, warmup_ratio=0.1, min_lr_ratio=0.0, weight_decay=0.0),
        eval=EvalConfig(every=65, names=("tinyworld",), val_samples=128),
        save=SaveConfig(every=100),
    )


def dpo_red_team() -> AnyRun:
    """What the original did: preferences about harmful prompts only. It learns to refuse everything."""
    run = dpo()
    return dataclasses.replace(
        run,
        steps=40,
        source=tinyworld.Tinyworld(preferences="red-team"),
        objective=dataclasses.replace(run.objective, sft_coef=1.0),  # type: ignore[call-arg]
        save=SaveConfig(every=0),
    )


def rl() -> AnyRun:
    """Learn lists by reward, which the instructions taught badly, without losing anything else."""
    return RunConfig(
        recipe="tinyworld",
        stage="rl",
        steps=90,
        model=_MODEL,
        source=tinyworld.Tinyworld(),
        data=_DATA,
        objective=rl_objective.Config(
            num_generations=8,
            max_completion_length=56,
            rewards=("finished:0.25", "format:1", "correct:0.5"),
            beta=0.0,
            sft_coef=1.0,
            sft_rows=32,
        ),
        batch=BatchConfig(size=16, micro_batches=4),
        optim=OptimConfig(name="adamw", lr=7e-4, warmup_ratio=0.1, min_lr_ratio=0.0, weight_decay=0.0),
        eval=EvalConfig(every=30, names=("tinyworld",), val_samples=128, guardrails=GUARDRAILS),
        save=SaveConfig(every=30),
    )


def with_seed(settings: AnyRun, seed: int) -> AnyRun:
    """The same run in the world, with the shuffle, the weights and the order of `seed`."""
    return dataclasses.replace(
        settings,
        seed=seed,
        source=dataclasses.replace(settings.source, seed=seed),  # type: ignore[call-arg]
        data=dataclasses.replace(settings.data, shuffle_seed=seed),
    )
