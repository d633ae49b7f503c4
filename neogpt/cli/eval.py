"""Measure a model: any eval, on a run, a checkpoint or a Hugging Face model."""

import json as json_format
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from neogpt import plugins
from neogpt.config import SourceConfig
from neogpt.errors import ConfigError


def run(args: list[str]) -> int:
    """`neogpt eval MODEL EVAL [EVAL ...]`."""
    tyro.cli(_eval, args=args, prog="neogpt eval", config=(tyro.conf.FlagConversionOff,))
    return 0


def _eval(
    model: Annotated[str, tyro.conf.Positional],
    evals: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    /,
    limit: int | None = None,
    style: Literal["", "build-nanogpt", "lm-eval"] = "",
    tasks: tuple[str, ...] = (),
    data: str = "",
    device: str = "auto",
    samples: bool = False,
    json: bool = False,
) -> None:
    """Measure a model: any eval, on a run, a checkpoint or a Hugging Face model.

    examples: neogpt eval runs/demo/dpo tinyworld        neogpt eval openai-community/gpt2 hellaswag --style lm-eval

    Args:
        model: run, checkpoint, Hugging Face directory or id.
        evals: names of evals (`neogpt list evals`).
        limit: tasks an eval at most.
        style: how hellaswag lays out and scores its text (default: build-nanogpt).
        tasks: tasks that lm-eval runs (default: hellaswag).
        data: file of HellaSwag tasks, or folder of the prompts for refusals; by default NEOGPT_DATA, the cache, or
            downloaded.
        device: auto, cpu, cuda, ...
        samples: print sample answers too.
        json: print JSON.
    """
    if not evals:
        raise ConfigError("no eval was named", f"one of {', '.join(plugins.names('neogpt.evals'))}")
    for name in evals:
        plugins.get("neogpt.evals", name)
    _refuse_idle(evals, style, tasks, data)
    import torch

    from neogpt import checkpoint
    from neogpt.evals import evaluate
    from neogpt.train.device import pick_device

    folder = checkpoint.resolve(model)
    options: dict[str, dict[str, Any]] = {
        "hellaswag": {"data": data, **({"style": style} if style else {})},
        "instructions": _taught(folder),
        "refusals": {"data": data},
        "lm-eval": {"folder": folder, "data": data, **({"tasks": tasks} if tasks else {})},
    }
    with torch.inference_mode():
        scores, rows = evaluate(
            evals,
            checkpoint.load_model(folder).to(pick_device(device)),
            checkpoint.load_tokenizer(folder),
            _source(folder),
            limit,
            options,
        )
    if json:
        print(json_format.dumps({"model": str(folder), "scores": scores, "samples": rows}, indent=2))
        return
    width = max(map(len, scores))
    for name, value in scores.items():
        print(f"{name:<{width}}  {value:.4f}")
    if samples:
        for row in rows:
            print(f"\n{row['question']}\n  -> {row['answer']}  [{row['verdict']}]")


def _refuse_idle(evals: tuple[str, ...], style: str, tasks: tuple[str, ...], data: str) -> None:
    """ConfigError for a flag that none of the evals reads."""
    readers = {"style": (style, ["hellaswag"]), "tasks": (tasks, ["lm-eval"])}
    readers["data"] = (data, ["hellaswag", "lm-eval", "refusals"])
    for flag, (value, names) in readers.items():
        if value and not set(names) & {name.replace("_", "-") for name in evals}:
            raise ConfigError(
                f"--{flag} means nothing to {', '.join(evals)}", f"{' or '.join(names)} with it"
            )


def _source(folder: Path) -> SourceConfig | None:
    """The data source's options of the run that made a checkpoint (tinyworld's seed, ...); None elsewhere."""
    settings = _settings(folder)
    if not settings:
        return None
    options: SourceConfig = plugins.get("neogpt.data.sources", settings["source_name"]).Config(
        **settings["source"]
    )
    return options


def _taught(folder: Path) -> dict[str, Any]:
    """Whether the model was taught instructions of its own, and what share of them was held out."""
    settings = _settings(folder)
    if settings.get("stage") != "sft":
        return {}
    return {"own": True, "val_fraction": settings["objective"]["val_fraction"]}


def _settings(folder: Path) -> dict[str, Any]:
    """The settings of the run that made a checkpoint; none elsewhere."""
    file = folder / "trainer.json"
    return dict(json_format.loads(file.read_text())["config"]) if file.is_file() else {}
