"""Looking inside a GPT-2: activations by name, lens, attention, attribution, ablation, patching, head scores.

Functions on plain tensors; a model of NeoGPT goes in as it is, whatever kernels it trains with. `activations.py` has
the forward pass written out, and is where a newcomer begins to read.
"""

from neogpt.studies.interpretability.activations import activations, attention
from neogpt.studies.interpretability.attribution import (
    Attribution,
    direct_logit_attribution,
    gradient_x_input,
)
from neogpt.studies.interpretability.components import Component, ablate, patch
from neogpt.studies.interpretability.generation import generate_greedily, look_into_generation
from neogpt.studies.interpretability.heads import HeadScores, head_scores, scores_on
from neogpt.studies.interpretability.lens import LensReadings, lens_readings, logit_lens

__all__ = [
    "Attribution",
    "Component",
    "HeadScores",
    "LensReadings",
    "ablate",
    "activations",
    "attention",
    "direct_logit_attribution",
    "generate_greedily",
    "gradient_x_input",
    "head_scores",
    "lens_readings",
    "logit_lens",
    "look_into_generation",
    "patch",
    "scores_on",
]
