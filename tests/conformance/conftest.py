"""The document is compiled and played once for all tests here; the table is told after them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from blocks import ABSENT, File, files, is_there
from cases import CASES
from told import ROWS, Row, lines
from world import Compiled, Ran, play, staged, surroundings


@pytest.fixture(scope="session")
def document() -> list[File]:
    """Every file of the document."""
    if not is_there():
        pytest.skip(ABSENT)
    return files()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the document's files are written: a project of their own."""
    root = tmp_path_factory.mktemp("document")
    (root / "pyproject.toml").write_text("")
    return root


@pytest.fixture(scope="session")
def everything(document: list[File], folder: Path) -> list[Compiled]:
    """Every file, compiled."""
    return staged(document, folder)


@pytest.fixture(scope="session")
def ran(everything: list[Compiled]) -> Iterator[dict[str, list[Ran]]]:
    """What came of every event, by the pipeline's slug. One loop and one worker for all of them."""
    plans = [each.plan for each in everything if each.plan is not None and each.plan.slug in CASES]

    async def played() -> dict[str, list[Ran]]:
        async with surroundings() as (models, environ):
            with pytest.MonkeyPatch.context() as patched:
                for name, value in environ.items():
                    patched.setenv(name, value)
                return await play(plans, models, environ["SITE"])

    return asyncio.run(played())


@pytest.fixture(scope="session")
def rows(everything: list[Compiled]) -> dict[str, Row]:
    """The table, by path."""
    for each in everything:
        ROWS.setdefault(each.file.path, Row(each.file.block.number, each.file.path, each.document.kind))
    return ROWS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, block by block."""
    if ROWS:
        terminalreporter.section("conformance")
        for line in lines():
            terminalreporter.write_line(line)
