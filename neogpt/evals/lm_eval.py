"""lm-evaluation-harness itself, run on the model as transformers loads it: the referee (extra: `neogpt[eval]`).

The tasks of `_LOCAL` come from the files that our own evals read, so they run offline; the others are loaded as
lm-eval loads them, from the Hugging Face Hub or its cache.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neogpt import plugins
from neogpt.errors import ConfigError, DataError
from neogpt.evals import _hellaswag_tasks, base

if TYPE_CHECKING:
    from neogpt.model import GPT2
    from neogpt.tokenizer import Tokenizer
    from neogpt.train.parallel.distributed import World

_ROWS = 16
_LOCAL = {
    "hellaswag": ("hellaswag/hellaswag.yaml", "hellaswag"),
    "arc_easy": ("arc/arc_easy.yaml", "arc-easy"),
    "lambada_openai": ("lambada/lambada_openai.yaml", "lambada"),
    "piqa": ("piqa/piqa.yaml", "piqa"),
    "sciq": ("sciq/sciq.yaml", "sciq"),
}
"""lm-eval's tasks: the definition in its folder, and our eval that knows the rows. BLiMP's have a prefix in common."""
_BLIMP = "blimp_"


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What lm-eval is asked for; `limit` is of each task."""

    tasks: tuple[str, ...] = ("hellaswag",)
    """Tasks by lm-eval's names."""
    data: str = ""
    """File of HellaSwag's tasks, as the eval `hellaswag` reads it."""


class LmEval(base.Eval[Config]):
    """Other people's measurement of the same model.

    Not shared: lm-eval divides its work by its own launcher (accelerate), which knows nothing of this run's processes.
    """

    config_class = Config
    data_kind = "file"
    is_shared = False
    metrics = (base.Metric("*", base.OTHER, "lm-eval: {path}", "", "", "number"),)

    def check(self, tokenizer: Tokenizer | None = None) -> None:
        """ConfigError without the extra."""
        _validate_absence()

    def run(self, model: GPT2, tokenizer: Tokenizer, world: World) -> dict[str, float]:
        """Every number that lm-eval reports of these tasks, as `task/metric` and `task/metric_stderr`.

        The model is read from the subject's folder, or saved into a temporary one. Errors: ConfigError without lm-eval
        or for a task that it does not know, DataError when it cannot load one.
        """
        from neogpt.model import save_pretrained  # start-up time: torch

        with contextlib.ExitStack() as stack:
            folder = self.subject.folder
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                save_pretrained(model, folder, tokenizer.eot_id)
                tokenizer.save(folder, model.config.n_positions)
            limit = self.config.limit or None
            results = harness(folder, self.config.tasks, limit, self.config.data, str(model.device))[
                "results"
            ]
        return {
            _name(task, key): value
            for task, found in results.items()
            for key, value in found.items()
            if isinstance(value, int | float) and "," in key
        }


EVAL = LmEval


def harness(
    folder: Path, tasks: Sequence[str], limit: int | None = None, data: str = "", device: str = "cpu"
) -> dict[str, Any]:
    """What `lm_eval.simple_evaluate` returns, with the samples, for the model in `folder` in its saved dtype."""
    _validate_absence()
    with _quiet(), tempfile.TemporaryDirectory() as scratch:
        import lm_eval  # extra: eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        others = {task for task in tasks if not _is_local(task)}
        manager = TaskManager(include_defaults=bool(others))  # thousands of files: many seconds
        if unknown := others - set(manager.all_tasks):
            raise ConfigError(
                f"lm-eval has no task {unknown.pop()!r}",
                "a name that `lm-eval ls tasks` shows",
                code="eval.no_such_task",
            )
        definitions = Path(lm_eval.__file__).parent / "tasks"
        wanted = [
            _local(Path(scratch), definitions, task, data, limit) if _is_local(task) else task
            for task in tasks
        ]
        model = HFLM(pretrained=str(folder), device=device, batch_size=_ROWS)
        try:
            results: dict[str, Any] = lm_eval.simple_evaluate(
                model, tasks=wanted, limit=limit, task_manager=manager
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(
                f"lm-eval could not run {', '.join(tasks)}: {str(error).splitlines()[0]}",
                "data sets that are on this disk or that the network lets it load",
                code="eval.lm_eval_failed",
            ) from error
    return results


def _is_local(task: str) -> bool:
    return task in _LOCAL or task.startswith(_BLIMP)


def _local(folder: Path, definitions: Path, task: str, data: str, limit: int | None) -> str:
    """A definition in `folder` of one of lm-eval's tasks, its text and metrics untouched, on the rows of our file."""
    uid = task.removeprefix(_BLIMP) if task.startswith(_BLIMP) else ""
    original, eval_name = (f"blimp/{uid}.yaml", "blimp") if uid else _LOCAL[task]
    if not (definitions / original).is_file():
        raise ConfigError(
            f"lm-eval has no task {task!r}", "a name that `lm-eval ls tasks` shows", code="eval.no_such_task"
        )
    file = folder / f"{task}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in _rows(eval_name, uid, data, limit)), "utf-8")
    files = {"data_files": {"rows": str(file)}, "cache_dir": str(folder / "cache")}
    values = {
        "include": str(definitions / original),
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": files,
        "training_split": None,
        "validation_split": "rows",
        "test_split": None,
    }
    definition = folder / f"{task}.yaml"
    definition.write_text(json.dumps(values), "utf-8")  # JSON is YAML
    return str(definition)


def _rows(eval_name: str, uid: str, data: str, limit: int | None) -> list[dict[str, Any]]:
    """The first rows of an eval's tasks, as the data set on the Hugging Face Hub has them; of BLiMP one paradigm's."""
    if eval_name == "hellaswag":
        return _hellaswag_tasks.as_rows(_hellaswag_tasks.read(data, limit))
    rows = (dict(row.values) for row in plugins.get("neogpt.evals", eval_name).TASKS.rows(data))
    found = list(islice((row for row in rows if not uid or row.get("UID") == uid), limit or None))
    if not found:
        raise DataError(
            f"no row of {eval_name} for lm-eval's {uid or eval_name}", "one or more", code="evals.incomplete"
        )
    return found


def _name(task: str, key: str) -> str:
    """lm-eval's `acc_stderr,none` of hellaswag -> hellaswag/acc_stderr."""
    metric, _, kind = key.partition(",")
    return f"{task}/{metric}" + ("" if kind == "none" else f",{kind}")


def _validate_absence() -> None:
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError(
            "lm-eval is not installed",
            "lm-evaluation-harness beside NeoGPT",
            "pip install 'neogpt[eval]'",
            code="cli.extra_missing",
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what its libraries warn of, and without inference mode, which its models set themselves."""
    import torch  # start-up time

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.inference_mode(False):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
