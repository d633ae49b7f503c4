"""`neogpt study scaling`: fit a law to a table of runs, draw IsoFLOP parabolas, train a grid."""

import json as json_format
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tyro

from neogpt.errors import ConfigError
from neogpt.studies.scaling import answer, isoflop, lines
from neogpt.studies.scaling import fit as fitting
from neogpt.studies.scaling import points as tables
from neogpt.studies.scaling.law import PUBLISHED, Law

_ASYMMETRIC = Law(2.0, 400.0, 400.0, 0.5, 0.25)
_MADE_BUDGETS = (1e18, 1e19, 1e20, 1e21)


def run(args: list[str]) -> int:
    """`neogpt study scaling [isoflop|grid] ...`."""
    if args and args[0] == "grid":
        from neogpt.studies.scaling import grid_command  # start-up time

        return grid_command.run(args[1:])
    action, rest = (_isoflop, args[1:]) if args and args[0] == "isoflop" else (_fit, args)
    name = f"neogpt study scaling{' isoflop' if action is _isoflop else ''}"
    tyro.cli(action, args=rest, prog=name, config=(tyro.conf.FlagCreatePairsOff,))
    return 0


def _fit(
    *,
    points: Path,
    drop_highest: int = 0,
    count: Literal["total", "non-embedding"] = "total",
    delta: float = fitting.DELTA,
    bootstrap: int = 1000,
    seed: int = 0,
    flops: tuple[float, ...] = (),
    predict: tuple[tuple[float, float], ...] = (),
    against: tuple[str, ...] = (),
    plot: Path | None = None,
    json: bool = False,
) -> None:
    """Fit L(N, D) = E + A / N^alpha + B / D^beta to a table of training runs.

    examples: neogpt study scaling --points runs.csv --predict 1e7 2e8
              neogpt study scaling grid --help        neogpt study scaling isoflop --help

    Args:
        points: CSV file with n_params, tokens (or training_flop) and loss; n_params_non_embedding and run where known.
        drop_highest: leave out so many points of highest loss.
        count: which parameters N counts (non-embedding needs the column n_params_non_embedding).
        delta: where the Huber loss on log L turns from a square into a line.
        bootstrap: resamples for the 95 % intervals; 0: none.
        seed: seed of the resamples.
        flops: compute budgets to tell the best size for (default: the table's largest, and ten times that).
        predict: parameters and tokens of runs to tell the loss of, in pairs.
        against: published laws to hold against the points: hoffmann-2022, besiroglu-2024.
        plot: PNG file to draw the law, the IsoFLOP parabolas and the points into (extra: neogpt[plot]).
        json: print JSON.
    """
    for name in against:
        if name not in PUBLISHED:
            raise ConfigError(
                f"there is no published law named {name!r}",
                f"some of {', '.join(PUBLISHED)}",
                code="scaling.no_such_law",
            )
    table = tables.read(points)
    fitted, values = answer.answer(
        table,
        count=count,
        drop_highest=drop_highest,
        delta=delta,
        bootstrap=bootstrap,
        seed=seed,
        flops=flops,
        predictions=predict,
        against=against,
    )
    if plot:
        from neogpt.studies.scaling import picture  # start-up time

        picture.draw(fitted, plot)
    _print(values, lines.of_answer(values), json)


def _isoflop(
    *,
    points: Path | None = None,
    budgets: tuple[float, ...] = (),
    drop_highest: int = 0,
    json: bool = False,
) -> None:
    """IsoFLOP parabolas of a table; without one, what parabolas make of noise-free runs of known laws.

    examples: neogpt study scaling isoflop        neogpt study scaling isoflop --points runs.csv --budgets 1e15 1e16

    Args:
        points: CSV file, as `neogpt study scaling` takes it.
        budgets: compute budgets in FLOPs (default: those with four sizes or more).
        drop_highest: leave out so many points of highest loss.
        json: print JSON.
    """
    if points is None:
        laws = {**PUBLISHED, "alpha 0.5, beta 0.25": _ASYMMETRIC}
        found = {name: isoflop.bias(law, budgets or _MADE_BUDGETS) for name, law in laws.items()}
        _print(found, lines.of_bias(found), json)
        return
    table = tables.read(points)
    fitted = fitting.fit(table, drop_highest, bootstrap=0)
    drawn = isoflop.parabolas(fitted.points, budgets)
    rows: list[dict[str, Any]] = [
        {
            "flops": p.flops,
            "n_params": p.n_params,
            "loss": p.loss,
            "curvature": p.curvature,
            "sizes": len(p.points),
            "is_inside": p.is_inside,
        }
        for p in drawn.parabolas
    ]
    by_law = float(fitted.law.size_exponent)
    values = {"parabolas": rows, "size_exponent": drawn.size_exponent, "law_size_exponent": by_law}
    _print(values, lines.of_parabolas(rows, drawn.size_exponent, by_law), json)


def _print(values: Any, readable: Sequence[str], json: bool) -> None:
    text = json_format.dumps(values, indent=2) if json else "\n".join(readable)
    sys.stdout.write(text + "\n")
