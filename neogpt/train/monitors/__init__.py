"""What watches a run and may end it; each takes up its memory from the ledger."""
