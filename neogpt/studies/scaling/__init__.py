"""Scaling laws: loss by model size and training tokens, from a grid of runs to a law that predicts."""
