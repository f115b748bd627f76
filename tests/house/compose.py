"""Reads docker-compose.yml as Docker would, as far as our file goes: merges, anchors and variables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$\{(\w+)(?:(:?-)([^}]*))?\}")


def interpolated(value: Any, environ: Mapping[str, str]) -> Any:
    """`${NAME}`, `${NAME-default}` (when unset) and `${NAME:-default}` (when unset or empty), in every text."""

    def one(match: re.Match[str]) -> str:
        name, operator, default = match.groups()
        told = environ.get(name)
        missing = told is None or (operator == ":-" and not told)
        return (default or "") if missing else str(told)

    if isinstance(value, str):
        return VARIABLE.sub(one, value)
    if isinstance(value, list):
        return [interpolated(each, environ) for each in value]
    if isinstance(value, dict):
        return {key: interpolated(each, environ) for key, each in value.items()}
    return value


def compose(environ: Mapping[str, str]) -> dict[str, Any]:
    return interpolated(yaml.safe_load(FILE.read_text(encoding="utf-8")), environ)


def services(environ: Mapping[str, str] = {}) -> dict[str, dict[str, Any]]:
    return compose(environ)["services"]


def command_of(service: dict[str, Any]) -> list[str]:
    command = service["command"]
    return shlex.split(command) if isinstance(command, str) else [str(word) for word in command]


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service["environment"].items()}


def images_of(service: dict[str, Any]) -> list[str]:
    """The images a service stands on, those that it is built from included."""
    build = service.get("build")
    if not build:
        return [service["image"]]
    inline = build.get("dockerfile_inline") if isinstance(build, dict) else (ROOT / "Dockerfile").read_text("utf-8")
    return re.findall(r"^FROM (\S+)", inline, flags=re.MULTILINE)
