"""Spans, metrics, health and the audit: they only look."""
