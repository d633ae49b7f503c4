"""Trackers: who else is shown a run's ledger rows."""
