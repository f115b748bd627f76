"""Model names: which service answers one, and what a retired one is called today. The data is in `models.json`."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any

SERVICES = ("offline", "openai", "anthropic")


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files(__package__).joinpath("models.json").read_text("utf-8"))
    return found


def default_model() -> str:
    """The model of tasks for which nobody names one."""
    return str(_data()["default"])


def service_of(model: str) -> str:
    """`offline`, `anthropic` or `openai`: every name has exactly one; unknown ones go to the OpenAI-style endpoint."""
    name = model.strip().lower()
    if name == "offline" or name.startswith("offline/"):
        return "offline"
    if name.startswith(("claude-", "anthropic/")):
        return "anthropic"
    return "openai"


@lru_cache(maxsize=1024)
def current(model: str) -> str:
    """The name to call: that of today for a retired model, else the name itself."""
    for pattern, today in _data()["retired"]:
        if re.fullmatch(pattern, model.strip().lower()):
            return str(today)
    return model
