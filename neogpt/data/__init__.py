"""Text to batches: sources of records, token shards, one global order, windows. It knows no model."""
