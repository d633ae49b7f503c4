"""Listeners that hand a run's ledger rows to somebody else."""
