"""Services in `Pipeline.run`: fakes, failures and the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream_orchestrator import Pipeline, Result, load
from stream_orchestrator.kernel.effects import Answer, ServiceRequest

DOCUMENT = """\
name: P
input_variables:
  page_url: {type: string}
tasks:
  - {name: page, type: web_scraping_task, error_handling: {retry_delay: 0}}
  - name: told
    type: api_task
    url: "https://a.example"
    method: POST
    json: {title: "{{ page.title }}"}
    auth: {bearer: "{{ secret('shop_token') }}"}
    error_handling: {retry_delay: 0}
"""
EVENT = {"page_url": "https://page.example"}


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    (tmp_path / "p.yaml").write_text(DOCUMENT)
    return load(tmp_path / "p.yaml")


async def test_a_fake_answers_for_its_service(pipeline: Pipeline) -> None:
    seen: list[ServiceRequest] = []

    async def api(request: ServiceRequest) -> dict[str, Any]:
        seen.append(request)
        return {"status": 200}

    result = await pipeline.run(EVENT, services={"web": lambda request: {"title": request.options["url"]}, "*": api})
    assert (result.status, result.output) == ("succeeded", {"status": 200})
    assert seen[0].options["json"] == {"title": "https://page.example"}
    assert list(seen[0].secrets.values()) == ["shop_token"]


async def test_a_fake_that_raises_is_a_service_that_fails_and_is_tried_again(pipeline: Pipeline) -> None:
    tries = []

    def web(request: ServiceRequest) -> Any:
        tries.append(request.key)
        if len(tries) < 3:
            raise ConnectionError("not yet")
        return {"title": "t"}

    result = await pipeline.run(EVENT, services={"web": web, "api": lambda request: Answer(value=7)})
    assert (result.output, len(tries), len(set(tries))) == (7, 3, 1)


def failure(result: Result) -> tuple[str, int, bool]:
    assert result.error is not None
    return result.error["type"], result.error["attempts"], result.error["retryable"]


async def test_a_service_that_is_not_given_is_not_asked(pipeline: Pipeline) -> None:
    said = (await pipeline.run(EVENT, models="fine")).error or {}
    assert "services={" in said["message"]
    assert "--offline" not in said["message"]
    assert failure(await pipeline.run(EVENT, services={})) == ("Offline", 1, False)
    assert failure(await pipeline.run(EVENT, models="fine")) == ("Offline", 1, False)


async def test_a_page_of_our_own_network_is_refused_for_real(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STREAM_ORCHESTRATOR__FETCH__ALLOWED_HOSTS", raising=False)
    result = await pipeline.run({"page_url": "http://127.0.0.1:9/"})
    assert failure(result) == ("blocked_address", 1, False)


async def test_files_and_databases_are_worked_on_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_ORCHESTRATOR__FILES__ROOTS", str(tmp_path))
    monkeypatch.setenv("MADE_DB", f"sqlite:///{tmp_path}/made.db")
    (tmp_path / "p.yaml").write_text("""\
name: P
tasks:
  - {name: made, type: database_task, connection: made_db, query: CREATE TABLE t (a TEXT)}
  - name: put
    type: database_task
    depends_on: made
    connection: made_db
    query: INSERT INTO t VALUES (:a)
    parameters: {a: "{{ text }}"}
  - {name: got, type: database_task, depends_on: put, connection: made_db, query: SELECT a FROM t}
  - {name: kept, type: file_task, operation: write, path: out/a.json, content: "{{ got.rows }}"}
  - {name: read, type: file_task, depends_on: kept, operation: read, path: out/a.json}
""")
    result = await load(tmp_path / "p.yaml").run({"text": "it's {{ data }}"}, models="fine")
    assert result.error is None
    assert result.outputs["read"]["content"] == '[{"a":"it\'s {{ data }}"}]'
