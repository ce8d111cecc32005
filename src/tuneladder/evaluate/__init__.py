"""Room 3: how good a variant is, how sure that is, and what it forgot. `metrics/` is a catalogue: one file, one metric."""
