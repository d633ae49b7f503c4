"""The one inference engine: samples while training, chat, evals and RL rollouts all use it."""
