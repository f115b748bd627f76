"""Documents of a test's own, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Makes a file of a project; the folder is marked as the project's."""
    (tmp_path / "pyproject.toml").touch()

    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return make


@pytest.fixture
def asking() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Asks a broker something from a test that is no coroutine, because commands have loops of their own."""

    def ask(work: Coroutine[Any, Any, T]) -> T:
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(asyncio.run, work).result()

    return ask
