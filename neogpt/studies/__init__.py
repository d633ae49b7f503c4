"""Studies of trained models: what happens inside, when it came, and which stage of training put it there."""
