"""Made tables of training runs for the tests of the scaling study."""

from pathlib import Path

import numpy as np

from neogpt.studies.scaling import fit
from neogpt.studies.scaling import points as tables
from neogpt.studies.scaling.law import Law
from neogpt.studies.scaling.points import Points

LAW = Law(1.9, 410.0, 1300.0, 0.35, 0.39)


def grid(law: Law = LAW, noise: float = 0.0, seed: int = 0, sizes: int = 7, horizons: int = 6) -> Points:
    """Runs of every size at every horizon, with log-normal noise on the loss."""
    N, D = np.meshgrid(np.geomspace(3e5, 3e7, sizes), np.geomspace(3e6, 1e9, horizons))
    n, d = N.ravel(), D.ravel()
    dice = np.random.default_rng(seed)
    return Points(n, d, law.loss(n, d) * np.exp(noise * dice.normal(size=len(n))))


def write(path: Path, points: Points, **more: list[object]) -> Path:
    """The table as a CSV file, with further columns."""
    columns = {"n_params": points.n_params, "tokens": points.tokens, "loss": points.loss, **more}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    tables.write(path, rows)
    return path


def fitted(path: Path) -> fit.Fit:
    """The law of a file, without intervals."""
    return fit.fit(tables.read(path), bootstrap=0)
