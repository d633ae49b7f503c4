"""A score sample by sample, so that two evaluations of the same samples can be compared as pairs.

The standard error of a difference between two means over the same samples is that of the samples' differences: what
makes one sample harder than another falls out of it (the paired t-test, Student 1908).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Scores = Mapping[str, "float | Outcomes"]
"""What an evaluation found, by name: a number, or the samples that its mean is taken over."""


@dataclass(frozen=True)
class Outcomes:
    """One score of n samples: sample i has sums[i] over weights[i] units, and the score is their ratio of totals.

    A share of right answers has weights of 1 and sums of 0 or 1; a loss a token has the tokens of each sample as
    weights and their summed loss as sums. Both (n,), float64.
    """

    sums: Numbers
    weights: Numbers

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Outcomes:
        """Samples that count alike."""
        sums = np.asarray(values, np.float64)
        return cls(sums, np.ones_like(sums))

    @property
    def mean(self) -> float:
        """The score."""
        return float(self.sums.sum() / max(self.weights.sum(), 1e-12))

    def change_since(self, before: Outcomes) -> tuple[float, float]:
        """How much the score has risen since `before`, of the same samples in the same order, and its standard error.

        The error is that of a difference of two ratios, to first order (Cochran 1977, "Sampling Techniques",
        section 6): the deviation of r_i = (s_i - mean w_i) / W of the one less that of the other. Infinite for a
        single sample. Errors: ValueError where the numbers of samples differ.
        """
        if len(self.sums) != len(before.sums):
            raise ValueError(f"{len(self.sums)} samples cannot be paired with {len(before.sums)}")
        n = len(self.sums)
        residuals = self._residuals() - before._residuals()
        error = (n / (n - 1) * float((residuals**2).sum())) ** 0.5 if n > 1 else float("inf")
        return self.mean - before.mean, error

    def _residuals(self) -> Numbers:
        residuals: Numbers = (self.sums - self.mean * self.weights) / max(self.weights.sum(), 1e-12)
        return residuals


def means(scores: Scores) -> dict[str, float]:
    """Each score as one number, as the ledger has it."""
    return {name: score.mean if isinstance(score, Outcomes) else score for name, score in scores.items()}


def samples(scores: Scores) -> dict[str, Outcomes]:
    """The scores whose samples are known."""
    return {name: score for name, score in scores.items() if isinstance(score, Outcomes)}
