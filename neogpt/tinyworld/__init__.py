"""The closed world: what is so in it, what is written about it, its exam and its judge. Knows no torch."""
