"""A table of training runs to fit a law to: parameters, training tokens, loss."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neogpt import atomic
from neogpt.errors import DataError
from neogpt.studies.scaling.law import FloatArray, IntArray

_COLUMNS = "a header with n_params, loss, and tokens or training_flop"


@dataclass(frozen=True)
class Points:
    """Runs, one an entry."""

    n_params: FloatArray
    """All trainable parameters; a tied output head counts once."""
    tokens: FloatArray
    loss: FloatArray
    """Natural logarithms a token, or any other positive unit."""
    n_params_non_embedding: FloatArray | None = None
    """Parameters without token and position embeddings, where the table has them."""
    runs: tuple[str, ...] = ()
    """Which run each point is from, where the table says so: points of one run are resampled together."""

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def flops(self) -> FloatArray:
        """6 N D."""
        return 6 * self.n_params * self.tokens

    def select(self, index: IntArray | Sequence[int]) -> "Points":
        """These points alone, in this order."""
        rows = np.asarray(index, np.int64)
        few = self.n_params_non_embedding
        return Points(
            self.n_params[rows],
            self.tokens[rows],
            self.loss[rows],
            None if few is None else few[rows],
            tuple(self.runs[i] for i in rows) if self.runs else (),
        )

    def without_highest(self, count: int) -> "Points":
        """All but the `count` points of highest loss, in the same order."""
        kept = np.sort(np.argsort(self.loss, kind="stable")[: len(self) - count])
        return self.select(kept)

    def counting(self, count: str) -> "Points":
        """The same runs with parameters counted as `total` or `non-embedding`.

        Errors: DataError (scaling.no_non_embedding_count) where the table has no such column.
        """
        if count == "total":
            return self
        if self.n_params_non_embedding is None:
            raise DataError(
                "the table does not count parameters without embeddings",
                "a column n_params_non_embedding",
                "--count total",
                code="scaling.no_non_embedding_count",
            )
        return Points(self.n_params_non_embedding, self.tokens, self.loss, None, self.runs)


def read(path: Path) -> Points:
    """The table in a CSV file with a header.

    Columns: n_params; tokens, or training_flop (tokens = training_flop / (6 n_params)); loss; and, where they are
    there, n_params_non_embedding and run. Other columns are for the reader. Errors: DataError with a code,
    scaling.unreadable, scaling.missing_column or scaling.bad_row (with the line).
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            _validate_columns(path, columns)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read: {error}", f"a CSV file with {_COLUMNS}", code="scaling.unreadable"
        ) from None
    if not rows:
        raise DataError(f"{path} has no rows", "one row a training run", code="scaling.too_few_points")
    found = [_row(row, columns, f"{path}, line {line}") for line, row in rows]
    n, d, loss, few = (np.array(column, np.float64) for column in zip(*found, strict=True))
    runs = tuple(row["run"] or str(i) for i, (_, row) in enumerate(rows)) if "run" in columns else ()
    return Points(n, d, loss, few if "n_params_non_embedding" in columns else None, runs)


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Rows as a CSV file that `read` takes; their keys are the columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic.write_text(path, text.getvalue())


def _validate_columns(path: Path, columns: Sequence[str]) -> None:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    missing = [name for name in ("n_params", "loss") if name not in columns]
    if not {"tokens", "training_flop"} & set(columns):
        missing.append("tokens (or training_flop)")
    if missing or twice:
        what = f"has no column {', '.join(missing)}" if missing else f"has two columns {twice[0]}"
        raise DataError(
            f"{path} {what}; its columns are {', '.join(columns) or 'none'}",
            _COLUMNS,
            code="scaling.missing_column",
        )


def _row(row: Mapping[str, str], columns: Sequence[str], place: str) -> tuple[float, float, float, float]:
    """N, D, loss and N without embeddings (or N again) of one line."""
    if None in row:
        raise DataError(f"{place} has more fields than the header", _COLUMNS, code="scaling.bad_row")
    n, loss = _number(row, "n_params", place), _number(row, "loss", place)
    if "tokens" in columns:
        d = _number(row, "tokens", place)
    else:
        d = _number(row, "training_flop", place) / (6 * n)
    few = _number(row, "n_params_non_embedding", place) if "n_params_non_embedding" in columns else n
    if few > n:
        raise DataError(
            f"{place}: {few:g} parameters without embeddings, {n:g} with them",
            "n_params_non_embedding below n_params",
            code="scaling.bad_row",
        )
    return n, d, loss, few


def _number(row: Mapping[str, str], name: str, place: str) -> float:
    text = row.get(name)
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise DataError(
            f"{place}: {name} is {text!r}", "a finite number above 0 in every row", code="scaling.bad_row"
        )
    return value
