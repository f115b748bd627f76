"""stream-orchestrator: AI pipelines, written as YAML, on event streams."""

__version__ = "0.1.0"
