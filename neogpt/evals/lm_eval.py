"""lm-evaluation-harness itself, run on the model as transformers loads it: the referee (extra: `neogpt[eval]`).

HellaSwag's tasks come from the file that `hellaswag` reads, so that task runs offline; the others are loaded as
lm-eval loads them, from the Hugging Face Hub or its cache.
"""

import contextlib
import importlib.util
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from neogpt.config import EvalConfig, SourceConfig
from neogpt.errors import ConfigError, DataError
from neogpt.evals import _hellaswag_tasks
from neogpt.model import GPT2, save_pretrained
from neogpt.tokenizer import Tokenizer

_ROWS = 16


def prepare(settings: EvalConfig) -> dict[str, Any]:
    """No options in training, where it runs `hellaswag`; ConfigError without the extra."""
    _refuse_absence()
    return {"limit": settings.hellaswag_limit or None, "data": settings.hellaswag_data}


def run(
    model: GPT2,
    tokenizer: Tokenizer,
    source: SourceConfig | None = None,
    limit: int | None = None,
    tasks: Sequence[str] = ("hellaswag",),
    folder: Path | None = None,
    data: str = "",
) -> dict[str, float]:
    """Every number that lm-eval reports of these tasks, as `task/metric` and `task/metric_stderr`.

    folder: where the model is saved as a Hugging Face directory; a temporary one is written without it.
    Errors: ConfigError without lm-eval or for a task that it does not know, DataError when it cannot load one.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            save_pretrained(model, folder, tokenizer.eot_id)
            tokenizer.save(folder, model.config.n_positions)
        results = harness(folder, tasks, limit, data, str(model.device))["results"]
    return {
        _name(task, key): value
        for task, found in results.items()
        for key, value in found.items()
        if isinstance(value, int | float) and "," in key
    }


def harness(
    folder: Path, tasks: Sequence[str], limit: int | None = None, data: str = "", device: str = "cpu"
) -> dict[str, Any]:
    """What `lm_eval.simple_evaluate` returns, with the samples, for the model in `folder` in its saved dtype."""
    _refuse_absence()
    with _quiet(), tempfile.TemporaryDirectory() as scratch:
        import lm_eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        others = set(tasks) - {"hellaswag"}
        manager = TaskManager(include_defaults=bool(others))  # thousands of files: many seconds
        if unknown := others - set(manager.all_tasks):
            raise ConfigError(
                f"lm-eval has no task {unknown.pop()!r}", "a name that `lm-eval ls tasks` shows"
            )
        original = Path(lm_eval.__file__).parent / "tasks" / "hellaswag" / "hellaswag.yaml"
        local = _local(Path(scratch), original, data, limit) if "hellaswag" in tasks else ""
        wanted = [local if task == "hellaswag" else task for task in tasks]
        model = HFLM(pretrained=str(folder), device=device, batch_size=_ROWS)
        try:
            results: dict[str, Any] = lm_eval.simple_evaluate(
                model, tasks=wanted, limit=limit, task_manager=manager
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(
                f"lm-eval could not run {', '.join(tasks)}: {str(error).splitlines()[0]}",
                "data sets that are on this disk or that the network lets it load",
            ) from error
    return results


def _local(folder: Path, original: Path, data: str, limit: int | None) -> str:
    """A definition in `folder` of lm-eval's task hellaswag, its text and metrics untouched, on our file's rows."""
    rows = _hellaswag_tasks.as_rows(_hellaswag_tasks.read(data, limit))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    files = {"data_files": {"validation": str(folder / "rows.jsonl")}, "cache_dir": str(folder / "cache")}
    values = {
        "include": str(original),
        "dataset_path": "json",
        "dataset_kwargs": files,
        "training_split": None,
    }
    definition = folder / "hellaswag.yaml"
    definition.write_text(json.dumps(values), "utf-8")  # JSON is YAML
    return str(definition)


def _name(task: str, key: str) -> str:
    """lm-eval's `acc_stderr,none` of hellaswag -> hellaswag/acc_stderr."""
    metric, _, kind = key.partition(",")
    return f"{task}/{metric}" + ("" if kind == "none" else f",{kind}")


def _refuse_absence() -> None:
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError(
            "lm-eval is not installed", "lm-evaluation-harness beside NeoGPT", "pip install 'neogpt[eval]'"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what its libraries warn of, and without inference mode, which its models set themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.inference_mode(False):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
