"""Pipelines that run other pipelines, in `Pipeline.run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream_orchestrator import load
from stream_orchestrator.kernel import outside
from stream_orchestrator.tasks import containers

OUTER = """\
name: Outer
input_variables: {page_url: {type: string}}
tasks:
  - {name: ask, type: pipeline_group, pipeline: inner.yaml, inputs: {page_url: "{{ page_url }}"}}
"""
INNER = """\
name: Inner
input_variables: {page_url: {type: string}}
tasks:
  - {name: page, type: web_scraping_task, error_handling: {retry_count: 0}}
"""


async def test_services_that_are_given_answer_inside_other_pipelines_too(tmp_path: Path) -> None:
    (tmp_path / "outer.yaml").write_text(OUTER)
    (tmp_path / "inner.yaml").write_text(INNER)
    asked: list[Any] = []

    def web(request: Any) -> dict[str, Any]:
        asked.append(request)
        return {"title": "T"}

    event = {"page_url": "http://127.0.0.1:9/nobody"}
    result = await load(tmp_path / "outer.yaml").run(event, services={"web": web})
    assert (result.status, result.output) == ("succeeded", {"title": "T"})
    assert len(asked) == 1


async def test_pipelines_that_run_each_other_in_a_circle_come_to_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "DEEPEST", 3)
    assert outside.DEEPEST > 3
    (tmp_path / "outer.yaml").write_text(OUTER)
    (tmp_path / "inner.yaml").write_text(OUTER.replace("Outer", "Inner").replace("inner.yaml", "outer.yaml"))
    result = await load(tmp_path / "outer.yaml").run({"page_url": "x"})
    assert result.error is not None
    assert "run each other" in result.error["message"]
