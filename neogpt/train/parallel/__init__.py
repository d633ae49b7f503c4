"""How processes share a step: who holds which weights, and how gradients come together."""
