"""The law L(N, D) = E + A / N^alpha + B / D^beta, and the size that it finds best for a compute budget.

Letters: N parameters, D training tokens, L loss, C training FLOPs (C = 6 N D). Source: Hoffmann et al. 2022,
"Training Compute-Optimal Large Language Models", section 3.3 and appendix D.3.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
NAMES = ("E", "A", "B", "alpha", "beta")
"""The law's constants, in the order in which tables show them."""


@dataclass(frozen=True)
class Law:
    """Constants of L(N, D) = E + A / N^alpha + B / D^beta.

    Each may be a number, or an array of as many values as there are laws (bootstrap resamples).
    """

    E: float | FloatArray
    A: float | FloatArray
    B: float | FloatArray
    alpha: float | FloatArray
    beta: float | FloatArray

    def loss(self, n_params: ArrayLike, tokens: ArrayLike) -> FloatArray:
        """The loss of models of `n_params` parameters after `tokens` tokens, in the unit of E."""
        N, D = np.asarray(n_params, np.float64), np.asarray(tokens, np.float64)
        return np.asarray(self.E + self.A * N**-self.alpha + self.B * D**-self.beta)

    @property
    def size_exponent(self) -> FloatArray:
        """a in N_opt ~ C^a: beta / (alpha + beta). The tokens' exponent is 1 - a."""
        return np.asarray(self.beta / (np.asarray(self.alpha) + self.beta))

    def optimum(self, flops: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Parameters, tokens and loss of the lowest loss at 6 N D = `flops`."""
        alpha, beta = np.asarray(self.alpha, np.float64), np.asarray(self.beta, np.float64)
        G = (alpha * self.A / (beta * self.B)) ** (1 / (alpha + beta))
        n_times_d = np.asarray(flops, np.float64) / 6
        n_params = G * n_times_d**self.size_exponent
        tokens = n_times_d / n_params
        return n_params, tokens, self.loss(n_params, tokens)


PUBLISHED = {
    "hoffmann-2022": Law(1.69, 406.4, 410.7, 0.34, 0.28),
    "besiroglu-2024": Law(1.817, 482.01, 2085.43, 0.3478, 0.3658),
}
"""Laws of Chinchilla's training runs (MassiveText, its own tokenizer), with all parameters counted.

Hoffmann et al. 2022, appendix D.3; Besiroglu et al. 2024, "Chinchilla Scaling: A replication attempt", table 1.
"""
