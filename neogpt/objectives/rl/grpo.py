"""The arithmetic of Group Relative Policy Optimization: advantages, clipped ratios, distance to a reference.

For G answers to one prompt with rewards r_1..r_G (Shao et al. 2024, "DeepSeekMath", section 4.1),
    advantage_i = (r_i - mean r) / (std r + 1e-4)         (Dr. GRPO, Liu et al. 2025: without the division)
    ratio_it    = p(token_it) / p_old(token_it)
    loss_it     = -min(ratio_it A_i, clip(ratio_it, 1 - low, 1 + high) A_i)
    kl_it       = q_it - log q_it - 1 with q = p_ref / p   (k3, Schulman 2020: never negative, unbiased)
`high` above `low` leaves rare tokens room to grow (DAPO's clip-higher, Yu et al. 2025).

Shapes: N groups, G answers of a group, R = N x G rows, T tokens.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from neogpt.objectives.rl.config import LossType

_STD_FLOOR = 1e-4


def advantages(rewards_NG: npt.NDArray[np.float64], scale: bool) -> npt.NDArray[np.float64]:
    """How much better than its group each answer is; exactly 0 where all are equally good."""
    advantages_NG: npt.NDArray[np.float64] = rewards_NG - rewards_NG.mean(1, keepdims=True)
    if scale:
        advantages_NG = advantages_NG / (rewards_NG.std(1, ddof=1, keepdims=True) + _STD_FLOOR)
    return np.where(is_flat(rewards_NG)[:, None], 0.0, advantages_NG)


def is_flat(rewards_NG: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which groups teach nothing, because all their answers earn the same."""
    flat: npt.NDArray[np.bool_] = rewards_NG.max(1) == rewards_NG.min(1)
    return flat


def token_weights(mask_RT: npt.NDArray[np.float32], loss_type: LossType) -> npt.NDArray[np.float32]:
    """How much each token counts: dapo and dr_grpo: each as much; grpo: each answer as much."""
    if loss_type != "grpo":
        return mask_RT
    return mask_RT / np.maximum(mask_RT.sum(1, keepdims=True), 1)


def total_weight(
    weights_RT: npt.NDArray[np.float32], loss_type: LossType, max_completion_length: int
) -> float:
    """What the sum over tokens is divided by: tokens (dapo), answers (grpo), or a constant an answer (dr_grpo).

    An answer that was cut off and counts for nothing is still an answer, as in TRL: leaving it out would make the
    others louder.
    """
    if loss_type == "dapo":
        return float(weights_RT.sum(dtype=np.float64))
    return float(len(weights_RT)) * (max_completion_length if loss_type == "dr_grpo" else 1)


@dataclass(frozen=True)
class Terms:
    """Sums over the tokens of a micro-batch; `clipped_RT` is 1 where the clip holds a token back."""

    policy: Tensor
    kl: Tensor
    kl_RT: Tensor
    clipped_RT: Tensor


def terms(
    logps_RT: Tensor,
    old_RT: Tensor,
    reference_RT: Tensor,
    advantages_R: Tensor,
    weights_RT: Tensor,
    low: float,
    high: float,
) -> Terms:
    """The summed loss terms from the log-probabilities of the sampled tokens (0 where the weight is 0)."""
    ratio_RT = (logps_RT - old_RT).exp()
    advantages_R1 = advantages_R[:, None]
    plain_RT = ratio_RT * advantages_R1
    clipped_RT = ratio_RT.clamp(1 - low, 1 + high) * advantages_R1
    gap_RT = reference_RT - logps_RT
    kl_RT = gap_RT.exp() - gap_RT - 1
    return Terms(
        policy=-(weights_RT * plain_RT.minimum(clipped_RT)).sum(),
        kl=(weights_RT * kl_RT).sum(),
        kl_RT=kl_RT.detach(),
        clipped_RT=(clipped_RT < plain_RT).detach(),
    )
