"""Every pipeline of the inventory is whole: it compiles, has sample events, and does with them what its schema says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

import stream_orchestrator
from stream_orchestrator.calls import offline

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "pipelines"
PRODUCTION = sorted((FOLDER / "production").glob("*.yaml"))
STAGING = sorted((FOLDER / "staging").glob("*.yaml"))
EVENTS = {"literature-digest": "literature", "support-triage": "tickets", "incident-report": "logs"}
HEADER = ("name", "version", "description", "author", "contact", "documentation_url", "changelog")


def stem(path: Path) -> str:
    return re.sub(r"-v\d.*", "", path.stem)


def document(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def events(path: Path) -> list[dict[str, Any]]:
    lines = (FOLDER / f"data/{EVENTS[stem(path)]}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def output_schema(path: Path) -> dict[str, Any]:
    return json.loads((FOLDER / f"schemas/{stem(path)}.output.json").read_text(encoding="utf-8"))


by_name = pytest.mark.parametrize("path", PRODUCTION + STAGING, ids=lambda path: path.stem)


def test_the_inventory_lists_every_pipeline() -> None:
    listed = re.findall(r"\]\(((?:production|staging)/[^)]+\.yaml)\)", (FOLDER / "README.md").read_text("utf-8"))
    assert sorted(listed) == [path.relative_to(FOLDER).as_posix() for path in PRODUCTION + STAGING]


@by_name
def test_a_pipeline_says_what_it_is_and_who_answers_for_it(path: Path) -> None:
    written = document(path)
    assert [key for key in HEADER if not written.get(key)] == []
    assert path.stem.endswith(f"-v{written['version']}")
    assert written["changelog"][0]["version"] == written["version"]
    assert [task["name"] for task in written["tasks"] if not task.get("description")] == []


@by_name
def test_a_pipeline_has_at_least_twenty_sample_events(path: Path) -> None:
    samples = events(path)
    assert len(samples) >= 20
    assert len({json.dumps(each) for each in samples}) == len(samples)


@by_name
async def test_a_pipeline_digests_its_samples_as_its_schema_says(path: Path) -> None:
    pipeline = stream_orchestrator.load(path)
    check = jsonschema_rs.validator_for(output_schema(path))
    samples = events(path)
    for event in samples[:: max(1, len(samples) // 12)]:
        result = await pipeline.run(event, models=offline.answer)
        assert result.status == "succeeded", (event, result.error)
        check.validate(result.output)


@by_name
async def test_an_event_without_what_is_required_is_rejected(path: Path) -> None:
    result = await stream_orchestrator.load(path).run({})
    assert result.status == "rejected"
    assert result.output is None


async def test_a_ticket_goes_to_exactly_one_of_the_two_branches() -> None:
    pipeline = stream_orchestrator.load(next(path for path in PRODUCTION if "triage" in path.stem))
    tickets = events(next(path for path in PRODUCTION if "triage" in path.stem))
    outputs = [(await pipeline.run(ticket, models=offline.answer)).output for ticket in tickets[:6]]
    assert [bool(each["page"]) + bool(each["draft_reply"]) for each in outputs] == [1] * 6


def test_the_literature_is_what_its_page_says() -> None:
    page = (FOLDER / "data/README.md").read_text(encoding="utf-8")
    told = {kind: int(number) for number, kind in re.findall(r"^\| (\d+) \| `(\w+)-…`", page, flags=re.MULTILINE)}
    found: dict[str, int] = {}
    for line in (FOLDER / "data/literature.jsonl").read_text(encoding="utf-8").splitlines():
        kind = json.loads(line)["id"].split("-")[0]
        found[kind] = found.get(kind, 0) + 1
    assert found == told
