"""Brokers that we start ourselves, so that a first try needs nothing but pip."""

from __future__ import annotations

from stream_orchestrator.streaming.brokers.embedded import EmbeddedBroker

__all__ = ["EmbeddedBroker"]
