"""One file is one recipe: a function per stage that returns the run's default settings."""
