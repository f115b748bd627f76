"""Fakes that users use too: models, broker, clock."""
