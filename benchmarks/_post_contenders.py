"""The contenders of post_training.py, each in a process of its own: `python _post_contenders.py NAME SPEC_JSON`.

The turns and the gate are those of _contenders.py.
"""

import dataclasses
import importlib.metadata
import json
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

from _contenders import BETAS, CLIP, DECAY, HORIZON, LR, WARMUP, Gate, _rate, memory, serve, watched

RATES = {"sft": 1e-4, "dpo": 1e-5}
NEOGPT: dict[str, dict[str, Any]] = {
    "neogpt": {},
    "neogpt-packed": {"packing": True},
    "neogpt-live": {"reference": "live"},
}
TRL: dict[str, dict[str, Any]] = {
    "trl": {},
    "trl-plain": {"gradient_checkpointing": False},
    "trl-padding-free": {"gradient_checkpointing": False, "padding_free": True},
    "trl-best": {"gradient_checkpointing": False, "sorted": True},
}
"""What is set beside TRL's defaults. `sorted`: rows in NeoGPT's order of lengths (all others: as they are drawn)."""
STAGES = {
    "sft": ["neogpt", "neogpt-packed", "trl", "trl-plain", "trl-padding-free", "trl-best"],
    "dpo": ["neogpt", "neogpt-packed", "neogpt-live", "trl", "trl-plain", "trl-best"],
}
"""DPO: TRL's `trl-best` has the reference's log-probabilities computed before training, and no padding-free form."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """What all contenders of a run share."""

    script: ClassVar[str] = "_post_contenders.py"
    stage: str
    shape: dict[str, int]
    size: int
    micro_batches: int
    dtype: str
    device: str
    threads: int
    folder: str
    """Has `start` (weights and tokenizer), `data.jsonl` (what NeoGPT reads), and the rows of all steps in order for
    TRL: `rows.json`, and `sorted.json` with the rows of each step by length."""


def run_config(spec: Spec, options: dict[str, Any]) -> Any:
    """The run as NeoGPT's own loop takes it."""
    from neogpt import plugins
    from neogpt.config import (
        BatchConfig,
        DataConfig,
        EvalConfig,
        GPT2Config,
        OptimConfig,
        RunConfig,
        SaveConfig,
    )
    from neogpt.data.sources import jsonl

    start = str(Path(spec.folder) / "start")
    own = {"max_tokens": spec.shape["n_positions"], "val_fraction": 0.0, **options}
    if spec.stage == "dpo":
        own["sft"] = 0.0
    return RunConfig(
        recipe="benchmark",
        stage=spec.stage,
        init_from=start,
        steps=HORIZON,
        device=spec.device,
        dtype=spec.dtype,
        threads=spec.threads,
        model=GPT2Config(**spec.shape),
        source=jsonl.Jsonl(path=str(Path(spec.folder) / "data.jsonl")),
        data=DataConfig(tokenizer=start),
        objective=plugins.get("neogpt.objectives", spec.stage).Config(**own),
        batch=BatchConfig(size=spec.size, micro_batches=spec.micro_batches),
        optim=OptimConfig(
            name="adamw", lr=RATES[spec.stage], weight_decay=DECAY, max_grad_norm=CLIP, warmup_ratio=WARMUP
        ),
        eval=EvalConfig(every=0, val_samples=0),
        save=SaveConfig(every=0),
    )


def neogpt(spec: Spec, gate: Gate, options: dict[str, Any], name: str) -> None:
    """The real loop, with its ledgers; a tracker stops it at every row."""
    from neogpt.train.run import train

    gate.imported = memory("VmHWM")

    class Watch:
        def row(self, row: dict[str, Any]) -> None:
            if "grad_norm" in row:
                gate.step(row["loss"])

        def event(self, event: dict[str, Any]) -> None:
            if event["event"] == "start":
                gate.begin()

    train(run_config(spec, options), Path(mkdtemp(prefix=name, dir=spec.folder)) / "run", trackers=[Watch()])


def trl(spec: Spec, gate: Gate, options: dict[str, Any], name: str) -> None:
    """TRL's trainer for the stage; the gate stands at its own callbacks."""
    import _nanogpt_style as style
    import torch
    import trl as library
    from datasets import Dataset
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

    kind: Any = library.SFTTrainer if spec.stage == "sft" else library.DPOTrainer
    gate.imported = memory("VmHWM")
    folder, options = Path(spec.folder), dict(options)
    rows = json.loads((folder / ("sorted.json" if options.pop("sorted", False) else "rows.json")).read_text())
    if spec.stage == "dpo" and name == "trl-best":
        options["precompute_ref_log_probs"] = True
    noting, watch = watched(kind, gate)

    def loaded() -> Any:
        return GPT2LMHeadModel.from_pretrained(folder / "start", dtype=torch.float32)

    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder / "start")
    tokenizer.pad_token = tokenizer.eos_token
    model, rate = loaded(), RATES[spec.stage]
    more = {}
    if spec.stage == "dpo" and "precompute_ref_log_probs" not in options:
        more["ref_model"] = loaded()
    optimizer = style.adamw(model, rate, BETAS, DECAY)
    noting(
        model=model,
        args=trl_arguments(spec, options, folder / name),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step) / LR)),
        callbacks=[watch],
        **more,
    ).train()


def trl_arguments(spec: Spec, options: dict[str, Any], folder: Path) -> Any:
    """TRL's defaults, but for the batch, the precision, the order of rows, and what would write or print."""
    import trl as library

    kind = library.SFTConfig if spec.stage == "sft" else library.DPOConfig
    own = {"completion_only_loss": True} if spec.stage == "sft" else {"beta": 0.1}
    return kind(
        output_dir=str(folder),
        max_steps=HORIZON,
        per_device_train_batch_size=spec.size // spec.micro_batches,
        gradient_accumulation_steps=spec.micro_batches,
        max_length=None,  # every row fits
        max_grad_norm=CLIP,
        bf16=spec.dtype == "bfloat16",
        use_cpu=spec.device == "cpu",
        train_sampling_strategy="sequential",
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **own,
        **options,
    )


def _contender(name: str) -> Any:
    run, options = (trl, TRL[name]) if name in TRL else (neogpt, NEOGPT[name])
    return lambda spec, gate, _compiled: run(spec, gate, options, name)


def available(name: str) -> bool:
    """Whether the packages of this contender are installed."""
    try:
        return name in NEOGPT or bool(importlib.metadata.version("trl"))
    except importlib.metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    serve(Spec, {name: _contender(name) for name in (*NEOGPT, *TRL)})
