"""Evals on published sets of tasks: their rows, from a file or folder on this disk or from the Hugging Face Hub.

Parquet and JSON lines in the columns that the Hub's data sets have are read alike.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from neogpt.data.sources import files, jsonl
from neogpt.errors import ConfigError, DataError
from neogpt.evals import base
from neogpt.paths import local_data
from neogpt.records import RowStats

if TYPE_CHECKING:
    from neogpt.model import GPT2
    from neogpt.tokenizer import Tokenizer
    from neogpt.train.parallel.distributed import World

TaskT = TypeVar("TaskT")


class Row(NamedTuple):
    """A task as its file has it."""

    place: str
    """File and number of the row, from 1."""
    values: Mapping[str, Any]


@dataclass(frozen=True)
class TaskSet:
    """A published set of tasks."""

    name: str
    """Its eval, and the folder or file that NEOGPT_DATA has it in."""
    hub: str
    """hf://datasets/OWNER/NAME, and the folder in it."""
    split: str
    """What the paths of its files have in them ("validation"); empty: every file belongs to it."""
    n_tasks: int
    columns: tuple[str, ...]
    """Those that every row has."""

    def read(
        self, make: Callable[[Mapping[str, Any]], TaskT], data: str = "", limit: int | None = None
    ) -> list[TaskT]:
        """The first `limit` tasks (all by default), in the files' order.

        data: a file or folder; by default NEOGPT_DATA, else the Hub (downloaded once). Errors: DataError, where the
        tasks cannot be had (evals.no_tasks), where a row is no task (evals.bad_task: `make` raised ValueError,
        KeyError or TypeError), or where a place that nobody named has not all of them (evals.incomplete).
        """
        found = []
        for row in islice(self.rows(data), limit or None):
            try:
                found.append(make(row.values))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f"{row.place} is no task of {self.name}: {type(error).__name__}: {error}",
                    f"the columns {', '.join(self.columns)}, as {self.hub} has them",
                    code="evals.bad_task",
                ) from None
        wanted = min(limit or self.n_tasks, self.n_tasks)
        if not found or (not data and len(found) != wanted):
            raise DataError(
                f"{len(found):,} tasks of {self.name} were found in {self._place(data)}",
                f"{wanted:,}" if not data else "one or more",
                "--data with a file or folder of them",
                code="evals.incomplete",
            )
        return found

    def rows(self, data: str = "") -> Iterator[Row]:
        """All rows, as they stand in the files. Errors: DataError (evals.no_tasks)."""
        for file in self._files(self._place(data)):
            yield from _rows(Path(file), self.columns)

    def _place(self, data: str) -> str:
        if data:
            return data
        folder = local_data()
        names = (self.name, f"{self.name}.jsonl", f"{self.name}.parquet")
        here = [folder / name for name in names if (folder / name).exists()] if folder else []
        return str(here[0]) if here else self.hub

    def _files(self, place: str) -> list[str]:
        """The files of this set's split."""
        try:
            found = files.tables(place)
        except DataError as error:
            raise DataError(
                f"the tasks of {self.name} are not there: {error.what}",
                error.expected,
                f"--data with a file or folder of them, or NEOGPT_DATA=DIR with them in DIR/{self.name}",
                code="evals.no_tasks",
            ) from None
        of_split = [file for file in found if self._is_of_split(file)]
        if of_split or len(found) == 1:
            return of_split or found
        raise DataError(
            f"none of {len(found)} files in {place} has {self.split!r} in its name",
            f"{self.name}'s split {self.split!r}",
            "--data with the right file",
            code="evals.no_tasks",
        )

    def _is_of_split(self, file: str) -> bool:
        """By the file's name, or its folder's."""
        near = "/".join(Path(file).parts[-2:]).lower()
        return not self.split or bool(re.search(rf"(?<![a-z]){self.split}(?![a-z])", near))


def text(values: Mapping[str, Any], column: str) -> str:
    """A column's text; TypeError where it holds something else, ValueError where it is blank."""
    value = values[column]
    if not isinstance(value, str):
        raise TypeError(f"{column} holds {type(value).__name__}, not text")
    if not value.strip():
        raise ValueError(f"{column} is blank")
    return value


def _rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    if file.name.lower().endswith(".parquet"):
        yield from _parquet_rows(file, columns)
        return
    bad = RowStats()
    for row in jsonl.rows(str(file), bad):
        yield Row(f"{file}, line {row.line}", row.values)
    if bad.n_malformed:
        raise DataError(
            f"{bad.shown[0].file}, line {bad.shown[0].line}: {bad.shown[0].reason}",
            "a JSON object on every line",
            code="evals.bad_task",
        )


def _parquet_rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    try:
        import pyarrow  # extra: data
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(
            f"pyarrow is needed to read {file.name}",
            "the extra `data`",
            "pip install 'neogpt[data]'",
            code="cli.extra_missing",
        ) from None
    try:
        table = pyarrow.parquet.ParquetFile(file)
        wanted = [name for name in table.schema_arrow.names if name in columns] or None
        number = 0
        for batch in table.iter_batches(columns=wanted):
            for values in batch.to_pylist():
                number += 1
                yield Row(f"{file}, row {number}", values)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"{file} cannot be read: {error}", "a whole parquet file", code="evals.no_tasks"
        ) from None


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """Which tasks; `limit` takes the first ones."""

    data: str = ""
    """File or folder of the tasks; empty: NEOGPT_DATA, or downloaded from the Hub once."""


class TaskEval(base.Eval[Config], Generic[TaskT]):
    """An eval on a published set of tasks. All processes take part, and the numbers do not depend on how many."""

    config_class = Config
    data_kind = "file"
    tasks: ClassVar[TaskSet]

    @staticmethod
    @abstractmethod
    def task(values: Mapping[str, Any]) -> TaskT:
        """A row of the data set; ValueError, KeyError or TypeError where it is none."""

    @abstractmethod
    def scores(
        self, model: GPT2, tokenizer: Tokenizer, tasks: Sequence[TaskT], world: World
    ) -> dict[str, float]:
        """The scores of these tasks."""

    def read(self) -> list[TaskT]:
        """The tasks. Errors: DataError as `TaskSet.read`."""
        return self.tasks.read(self.task, self.config.data, self.config.limit or None)

    def check(self, tokenizer: Tokenizer | None = None) -> None:
        """DataError when the tasks cannot be had."""
        self.read()

    def run(self, model: GPT2, tokenizer: Tokenizer, world: World) -> dict[str, float]:
        """The scores (see `scores`). Errors: DataError as `TaskSet.read`."""
        return self.scores(model, tokenizer, self.read(), world)


@dataclass(frozen=True)
class Cloze:
    """A text that breaks off, and answers of which one is right."""

    context: str
    answers: tuple[str, ...]
    right: int
    """Which answer is right, from 0."""


def bits_metric(name: str) -> base.Metric:
    """How a report shows bits per byte of the right answer."""
    explanation = "-log2 p of the right answer over its bytes: compares models of different vocabularies."
    return base.Metric(
        "bits_per_byte", base.KNOWLEDGE, f"{name}, bits per byte", explanation, "lower", "number"
    )
