"""Which service answers a model name. The name alone decides, so that a plan can be compiled without any key."""

from __future__ import annotations

SERVICES = ("offline", "openai", "anthropic")


def service_of(model: str) -> str:
    """`offline`, `anthropic` or `openai`: every name has exactly one; unknown ones go to the OpenAI-style endpoint."""
    name = model.strip().lower()
    if name == "offline" or name.startswith("offline/"):
        return "offline"
    if name.startswith(("claude-", "anthropic/")):
        return "anthropic"
    return "openai"
