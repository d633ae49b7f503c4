"""One folder is one way to learn: which batches a step sees, and their loss, in sums."""
