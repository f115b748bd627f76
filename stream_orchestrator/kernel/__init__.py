"""Rows, events, effects and `apply`. No I/O, no clock of its own; the in-memory evaluator drives it from a heap."""
