"""The objective of a fit, for many sets of constants at once: its value, gradient and curvature.

    sum over runs i of  weight_i * Huber_delta(logsumexp(e, a - alpha n_i, b - beta d_i) - log L_i)

with e = log E, and n, d the logarithms of N and D less their means, so that the five constants differ little in
scale. a and b are log A and log B at those means. Source: Hoffmann et al. 2022, equation 3; the sum over runs, not
the mean, as Besiroglu et al. 2024 have it.

Shapes: S sets of constants, R runs, 5 constants (e, a, b, alpha, beta).
"""

from dataclasses import dataclass

import numpy as np

from neogpt.studies.scaling.law import FloatArray, Law
from neogpt.studies.scaling.points import Points


@dataclass(frozen=True)
class Objective:
    """What is minimised: the runs, and where the Huber loss turns from a square into a line."""

    n_R: FloatArray
    d_R: FloatArray
    log_loss_R: FloatArray
    mean_n: float
    mean_d: float
    delta: float
    """In log units; infinite: least squares."""

    @classmethod
    def of(cls, points: Points, delta: float) -> "Objective":
        """The objective of a table of runs."""
        n, d = np.log(points.n_params), np.log(points.tokens)
        mean_n, mean_d = float(n.mean()), float(d.mean())
        return cls(n - mean_n, d - mean_d, np.log(points.loss), mean_n, mean_d, delta)

    def value(self, x_S5: FloatArray, weights_SR: FloatArray) -> FloatArray:
        """The objective (S,). `weights_SR` say how often each run counts."""
        residual_SR, _ = self._residuals(x_S5)
        return np.asarray((weights_SR * huber(residual_SR, self.delta)).sum(1))

    def derivatives(
        self, x_S5: FloatArray, weights_SR: FloatArray, damping_S: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Gradient (S, 5), and a damped matrix (S, 5, 5) for a Newton step.

        The matrix is H + damping M: H is the exact Hessian (generalised where |residual| = delta), M the positive
        one of iteratively reweighted least squares, so much damping gives a short step that goes down.
        """
        r_SR, share_3SR = self._residuals(x_S5)
        clipped = np.clip(r_SR, -self.delta, self.delta)
        psi_SR = weights_SR * clipped
        # 1 inside delta; outside delta / |r|. A residual of 0 is inside.
        reweighting_SR = np.divide(clipped, r_SR, out=np.ones_like(r_SR), where=r_SR != 0)
        curvature_SR = weights_SR * ((np.abs(r_SR) < self.delta) + damping_S[:, None] * reweighting_SR)
        _, A_SR, B_SR = share_3SR
        jacobian_S5R = np.stack([*share_3SR, -A_SR * self.n_R, -B_SR * self.d_R], axis=1)
        gradient_S5 = (jacobian_S5R @ psi_SR[:, :, None])[:, :, 0]
        matrix_S55 = (jacobian_S5R * (curvature_SR - psi_SR)[:, None]) @ jacobian_S5R.transpose(0, 2, 1)
        self._add_second_derivatives(matrix_S55, psi_SR * share_3SR)
        return gradient_S5, matrix_S55

    def law(self, x_S5: FloatArray) -> Law:
        """The constants in their usual form, arrays (S,)."""
        e, a, b, alpha, beta = x_S5.T
        return Law(np.exp(e), np.exp(a + alpha * self.mean_n), np.exp(b + beta * self.mean_d), alpha, beta)

    def _residuals(self, x_S5: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Log of predicted over measured loss (S, R), and the three terms' shares of the prediction (3, S, R)."""
        e, a, b, alpha, beta = x_S5.T[:, :, None]
        constant_SR = np.broadcast_to(e, (len(x_S5), len(self.n_R)))
        terms_3SR = np.stack([constant_SR, a - alpha * self.n_R, b - beta * self.d_R])
        highest_SR = terms_3SR.max(0)
        share_3SR = np.exp(terms_3SR - highest_SR)
        total_SR = share_3SR.sum(0)
        return highest_SR + np.log(total_SR) - self.log_loss_R, share_3SR / total_SR

    def _add_second_derivatives(self, matrix_S55: FloatArray, psi_3SR: FloatArray) -> None:
        """Add sum of psi_k z_k z_k^T, where z_k are the derivatives of term k; in place."""
        for row, (log_R, term_SR) in enumerate(zip((self.n_R, self.d_R), psi_3SR[1:], strict=True), start=1):
            cross_S = -term_SR @ log_R
            matrix_S55[:, row, row] += term_SR.sum(1)
            matrix_S55[:, row, row + 2] += cross_S
            matrix_S55[:, row + 2, row] += cross_S
            matrix_S55[:, row + 2, row + 2] += term_SR @ log_R**2
        matrix_S55[:, 0, 0] += psi_3SR[0].sum(1)


def huber(residual: FloatArray, delta: float) -> FloatArray:
    """Half the square up to `delta`, a line of that slope beyond (Huber 1964)."""
    size = np.abs(residual)
    if np.isinf(delta):
        return np.asarray(0.5 * size * size)
    return np.asarray(np.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta)))
