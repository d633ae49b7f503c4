"""Measure a model: any eval, on a run, a checkpoint or a Hugging Face model."""

import dataclasses
import json as json_format
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from neogpt import evals, outcomes, plugins
from neogpt.cli import _flags
from neogpt.data import source as sources
from neogpt.data.source import Source
from neogpt.errors import ConfigError, DataError
from neogpt.evals.base import AnyEval, Subject

if TYPE_CHECKING:
    from neogpt.tokenizer import Tokenizer

_USUAL = ("loss", "hellaswag")


def run(args: list[str]) -> int:
    """`neogpt eval MODEL [EVAL ...]`."""
    given = _flags.bare(args, "--json", "--samples")
    flags, given = _source_flags(given)
    tyro.cli(partial(_eval, flags), args=given, prog="neogpt eval", config=(tyro.conf.FlagCreatePairsOff,))
    return 0


def _source_flags(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The `--source.NAME VALUE ...` among the arguments, and the others."""
    found: tuple[list[str], list[str]] = ([], [])
    mine = False
    for arg in args:
        mine = arg.startswith("--source.") or (mine and not arg.startswith("-"))
        found[0 if mine else 1].append(arg)
    return found


def _eval(
    source_flags: list[str],
    model: Annotated[str, tyro.conf.Positional],
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    /,
    limit: int = 0,
    style: Literal["", "build-nanogpt", "lm-eval"] = "",
    tasks: tuple[str, ...] = (),
    data: str = "",
    source: str = "",
    device: str = "auto",
    samples: bool = False,
    json: bool = False,
) -> None:
    """Measure a model: any eval, on a run, a checkpoint or a Hugging Face model.

    examples: neogpt eval openai-community/gpt2        neogpt eval runs/demo/dpo tinyworld samples

    Args:
        model: run, checkpoint, Hugging Face directory or id.
        names: evals (`neogpt list evals`), with options of their own after a colon (hellaswag:limit=100); by default
            loss, and hellaswag or the model's own tinyworld.
        limit: tasks (loss: windows) an eval at most; 0: all, or as many as it takes by itself.
        style: how hellaswag lays out and scores its text (default: build-nanogpt).
        tasks: tasks that lm-eval runs (default: hellaswag).
        data: prepared data set for loss, file of HellaSwag tasks, file or folder of those of arc-easy, blimp, lambada,
            piqa or sciq, or folder of the prompts for refusals; by default NEOGPT_DATA, the cache, or downloaded.
        source: data source whose held-out instructions and answers are asked about (default: that of the model's run).
            Its settings are --source.NAME VALUE (`neogpt sft finetune --source NAME --help` lists them).
        device: auto, cpu, cuda, ...
        samples: print sample answers too.
        json: print JSON.
    """
    flags = {"limit": limit, "style": style, "tasks": tasks, "data": data}
    given = {flag: value for flag, value in flags.items() if value}
    chosen = evals.load(names or _USUAL, Subject())  # what is typed wrongly is told before anything is loaded
    _validate_idle(chosen, given)
    import torch  # start-up time

    from neogpt import model_store
    from neogpt.train.device import pick_device
    from neogpt.train.parallel.distributed import World

    folder = model_store.resolve(model)
    tokenizer = model_store.load_tokenizer(folder)
    subject = _asked_about(_subject(folder.path), source, source_flags)
    chosen = _with_flags(evals.load(names or _usual_names(subject), subject), given)
    if not names:
        chosen = _those_that_can_run(chosen, tokenizer)
    with torch.inference_mode():
        whole = model_store.load_model(folder).to(pick_device(device))
        found, rows = evals.evaluate(chosen, whole, tokenizer, World())
    scores = outcomes.means(found)
    if json:
        print(json_format.dumps({"model": str(folder), "scores": scores, "samples": rows}, indent=2))
        return
    width = max(map(len, scores))
    for name, value in scores.items():
        print(f"{name:<{width}}  {value:,}" if isinstance(value, int) else f"{name:<{width}}  {value:.4f}")
    if samples:
        for row in rows:
            print(f"\n{row['question']}\n  -> {row['answer']}  [{row['verdict']}]")


def _validate_idle(chosen: Mapping[str, AnyEval], given: Mapping[str, object]) -> None:
    """ConfigError for a flag that none of the evals reads."""
    for flag in given:
        if not any(flag in evals.options(name) for name in chosen):
            readers = [name for name in plugins.names(evals.PACKAGE) if flag in evals.options(name)]
            raise ConfigError(
                f"--{flag} means nothing to {', '.join(chosen)}",
                f"{' or '.join(readers)} with it",
                code="cli.flag_without_use",
            )


def _with_flags(chosen: Mapping[str, AnyEval], given: Mapping[str, Any]) -> dict[str, AnyEval]:
    """The evals with what the flags say to those that have such an option."""
    readers = _readers_of_data(chosen, str(given.get("data", "")))
    changed = {}
    for name, eval_ in chosen.items():
        own = {
            flag: value
            for flag, value in given.items()
            if flag in evals.options(name) and (flag != "data" or name in readers)
        }
        changed[name] = type(eval_)(dataclasses.replace(eval_.config, **own), eval_.subject)
    return changed


def _readers_of_data(chosen: Mapping[str, AnyEval], data: str) -> list[str]:
    """Whom --data is for: a folder for those that read folders, where one of them is asked for."""
    readers = [name for name, eval_ in chosen.items() if eval_.data_kind]
    kind = "folder" if Path(data).is_dir() else "file"
    return [name for name in readers if chosen[name].data_kind == kind] or readers


def _usual_names(subject: Subject) -> tuple[str, ...]:
    """The evals where none is named."""
    from neogpt.data.sources import tinyworld  # start-up time

    return ("loss", "tinyworld") if isinstance(subject.source, tinyworld.Tinyworld) else _USUAL


def _those_that_can_run(chosen: Mapping[str, AnyEval], tokenizer: "Tokenizer") -> dict[str, AnyEval]:
    """The evals whose data is here; the others are told of. DataError where none is, or it is not where --data says."""
    found, missing = {}, []
    for name, eval_ in chosen.items():
        try:
            eval_.check(tokenizer)
            found[name] = eval_
        except DataError as error:
            if eval_.data_kind and eval_.config.data:
                raise
            missing.append(f"{name} is left out: {error}")
    if not found:
        raise DataError("no eval can run:\n" + "\n".join(missing), code="eval.none_can_run")
    for line in missing:
        print(f"neogpt: {line}", file=sys.stderr)
    return found


def _subject(folder: Path) -> Subject:
    """What the run that made a checkpoint says of it; of a model from elsewhere only its folder is known."""
    settings = _settings(folder)
    if not settings:
        return Subject(folder=folder)
    subject = Subject(folder=folder, source=_source(settings), stage=str(settings.get("stage")))
    if subject.stage == "sft":
        return dataclasses.replace(subject, val_fraction=settings["objective"]["val_fraction"])
    if subject.stage == "pretrain":
        return dataclasses.replace(subject, data_hash=str(_trainer(folder)["data_hash"]))
    return subject


def _source(settings: dict[str, Any]) -> Source | None:
    """The data source of that run, with its settings (tinyworld's seed, ...); None where it names none."""
    values = settings.get("source", {})
    return sources.from_dict(values) if "kind" in values else None


def _asked_about(subject: Subject, name: str, flags: list[str]) -> Subject:
    """The same with the source that was named, else that of its run, whose settings stay where the names are equal.

    `flags` (`--source.path rows.jsonl`) are set over its own settings; ConfigError where there is no source to set.
    """
    found = subject.source
    if name:
        found = sources.chosen(found, name) if found else sources.source_by_name(name)()
    if flags and not found:
        raise ConfigError(
            f"{flags[0]}, but the model was made by no run here",
            "--source NAME with it",
            code="eval.not_a_run",
        )
    if flags and found:
        own = [flag.replace("--source.", "--", 1) for flag in flags]
        found = tyro.cli(type(found), default=found, args=own, prog=f"neogpt eval --source {found.kind}")
    return dataclasses.replace(subject, source=found, is_source_named=bool(name))


def _settings(folder: Path) -> dict[str, Any]:
    """The settings of the run that made a checkpoint; none elsewhere."""
    return dict(_trainer(folder).get("config", {}))


def _trainer(folder: Path) -> dict[str, Any]:
    file = folder / "trainer.json"
    return dict(json_format.loads(file.read_text("utf-8"))) if file.is_file() else {}
