"""Measure a model: any eval, on a run, a checkpoint or a Hugging Face model."""

import json as json_format
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from neogpt import plugins
from neogpt.cli import _flags
from neogpt.config import SourceConfig
from neogpt.errors import ConfigError, DataError

if TYPE_CHECKING:
    from neogpt.tokenizer import Tokenizer

_FILES, _FOLDERS = ("hellaswag", "lm-eval"), ("loss", "refusals")
"""Evals that --data may name a file of tasks for, and those that it names a folder for."""
_USUAL = ("loss", "hellaswag")


def run(args: list[str]) -> int:
    """`neogpt eval MODEL [EVAL ...]`."""
    given = _flags.bare(args, "--json", "--samples")
    tyro.cli(_eval, args=given, prog="neogpt eval", config=(tyro.conf.FlagCreatePairsOff,))
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

    examples: neogpt eval openai-community/gpt2        neogpt eval runs/demo/dpo tinyworld samples

    Args:
        model: run, checkpoint, Hugging Face directory or id.
        evals: names of evals (`neogpt list evals`); by default loss, and hellaswag or the model's own tinyworld.
        limit: tasks (loss: windows) an eval at most.
        style: how hellaswag lays out and scores its text (default: build-nanogpt).
        tasks: tasks that lm-eval runs (default: hellaswag).
        data: prepared data set for loss, file of HellaSwag tasks, or folder of the prompts for refusals; by default
            NEOGPT_DATA, the cache, or downloaded.
        device: auto, cpu, cuda, ...
        samples: print sample answers too.
        json: print JSON.
    """
    names = tuple(name.replace("_", "-") for name in evals)
    for name in names:
        plugins.get("neogpt.evals", name)
    _refuse_idle(names or _USUAL, style, tasks, data)
    import torch

    from neogpt import checkpoint
    from neogpt.evals import evaluate
    from neogpt.train.device import pick_device

    folder = checkpoint.resolve(model)
    tokenizer, source = checkpoint.load_tokenizer(folder), _source(folder)
    options = _options(folder, style, tasks, _places(names or _USUAL, data))
    with torch.inference_mode():
        scores, rows = evaluate(
            names or _usual(tokenizer, source, options, limit),
            checkpoint.load_model(folder).to(pick_device(device)),
            tokenizer,
            source,
            limit,
            options,
        )
    if json:
        print(json_format.dumps({"model": str(folder), "scores": scores, "samples": rows}, indent=2))
        return
    width = max(map(len, scores))
    for name, value in scores.items():
        print(f"{name:<{width}}  {value:,}" if isinstance(value, int) else f"{name:<{width}}  {value:.4f}")
    if samples:
        for row in rows:
            print(f"\n{row['question']}\n  -> {row['answer']}  [{row['verdict']}]")


def _refuse_idle(names: tuple[str, ...], style: str, tasks: tuple[str, ...], data: str) -> None:
    """ConfigError for a flag that none of the evals reads."""
    readers = {"style": (style, ["hellaswag"]), "tasks": (tasks, ["lm-eval"])}
    readers["data"] = (data, sorted([*_FILES, *_FOLDERS]))
    for flag, (value, known) in readers.items():
        if value and not set(known) & set(names):
            raise ConfigError(
                f"--{flag} means nothing to {', '.join(names)}", f"{' or '.join(known)} with it"
            )


def _places(names: tuple[str, ...], data: str) -> dict[str, str]:
    """What --data names, by eval: a folder is for those that read folders, where one of them is asked for."""
    readers = [name for name in names if name in (*_FILES, *_FOLDERS)]
    fitting = [name for name in readers if name in (_FOLDERS if Path(data).is_dir() else _FILES)]
    return dict.fromkeys(fitting or readers, data)


def _options(
    folder: Path, style: str, tasks: tuple[str, ...], places: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """What the command line and the model's own folder say to each eval."""
    data = {name: {"data": places.get(name, "")} for name in (*_FILES, *_FOLDERS)}
    return {
        "hellaswag": {**data["hellaswag"], **({"style": style} if style else {})},
        "instructions": _taught(folder),
        "loss": {**data["loss"], "learned": _learned(folder)},
        "refusals": data["refusals"],
        "lm-eval": {"folder": folder, **data["lm-eval"], **({"tasks": tasks} if tasks else {})},
    }


def _usual(
    tokenizer: "Tokenizer", source: SourceConfig | None, options: dict[str, dict[str, Any]], limit: int | None
) -> tuple[str, ...]:
    """The evals where none is named: those whose data is here, or was named. The others are told of."""
    from neogpt.data.sources import tinyworld
    from neogpt.evals import _hellaswag_tasks, loss

    if isinstance(source, tinyworld.Config):
        looks: dict[str, Callable[[], object]] = {"tinyworld": lambda: None}
    else:
        looks = {"hellaswag": lambda: _hellaswag_tasks.read(options["hellaswag"]["data"], limit)}
    found, missing = [], []
    for name, look in {"loss": lambda: loss.held_out(tokenizer, **options["loss"]), **looks}.items():
        try:
            look()
            found.append(name)
        except DataError as error:
            if options.get(name, {}).get("data"):
                raise
            missing.append(f"{name} is left out: {error}")
    if not found:
        raise DataError("no eval can run:\n" + "\n".join(missing))
    for line in missing:
        print(f"neogpt: {line}", file=sys.stderr)
    return tuple(found)


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


def _learned(folder: Path) -> str:
    """The hash of the text that a checkpoint was pretrained on; empty elsewhere."""
    return str(_trainer(folder)["data_hash"]) if _settings(folder).get("stage") == "pretrain" else ""


def _settings(folder: Path) -> dict[str, Any]:
    """The settings of the run that made a checkpoint; none elsewhere."""
    return dict(_trainer(folder).get("config", {}))


def _trainer(folder: Path) -> dict[str, Any]:
    file = folder / "trainer.json"
    return dict(json_format.loads(file.read_text("utf-8"))) if file.is_file() else {}
