"""`docs`: pages and inventories that say what the documents say."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_orchestrator.cli.inventory import BEGIN, END
from stream_orchestrator.cli.main import main

ROOT = Path(__file__).parents[2]
PIPELINES = sorted((ROOT / "pipelines/production").glob("*.yaml"))

HOSTILE = r"""
name: "Hostile | page"
version: 1.0.0
description: "<b>bold</b> | and\n\n# no heading"
input_variables:
  text: {type: string, description: "a | b\nc", validation: "a|b"}
tasks:
  - name: "first | task"
    type: python_task
    description: "x | y"
    script: return 1
  - name: both
    type: parallel_group
    tasks:
      - {name: inner_a, type: llm_task, model: gpt-6-luna, prompt: "{{ text }}", max_tokens: 50}
      - {name: inner_b, type: python_task, script: return 2}
"""


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    part = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_a_page_has_everything_that_people_ask_for(path: Path, call: Any) -> None:
    page = call("docs", path).out
    headings = re.findall(r"^## (.*)$", page, flags=re.MULTILINE)
    assert headings == ["Graph", "Inputs", "Tasks", "Cost", "Topics", "What it needs", "Changelog"]
    plan = call("plan", "--json", path).json
    assert [row[0].strip("`") for row in rows(page, "Inputs")] == list(plan["inputs"])
    assert [row[0].strip("`") for row in rows(page, "Tasks")] == [task["name"] for task in plan["tasks"]]
    assert [row[2].split(", ") if row[2] else [] for row in rows(page, "Tasks")] == [
        task["depends_on"] for task in plan["tasks"]
    ]
    assert call("graph", path, "--format", "mermaid").out.strip() in page
    assert all(topic in page for topic in plan["topics"][:3])


def test_the_cost_of_a_call_follows_from_the_price_of_a_token(call: Any) -> None:
    page = call("docs", ROOT / "pipelines/production/support-triage-v1.1.0.yaml").out
    for row in rows(page, "Cost"):
        per_in, per_out, each = map(float, row[2:])
        tokens = {"`draft_reply`": 300}.get(row[0], 120)
        assert each == pytest.approx((1000 * per_in + tokens * per_out) / 1_000_000, rel=0.02)


def test_words_of_authors_cannot_break_a_table_and_groups_show_what_is_inside(
    call: Any, write: Callable[[str, str], Path]
) -> None:
    page = call("docs", write("hostile.yaml", HOSTILE)).out
    assert {len(row) for row in rows(page, "Tasks")} == {6}
    assert {len(row) for row in rows(page, "Inputs")} == {5}
    assert [row[0] for row in rows(page, "Tasks")] == ["`first \\| task`", "`both`", "↳ `inner_a`", "↳ `inner_b`"]
    assert [row[0] for row in rows(page, "Cost")] == ["`inner_a`"]


def test_a_component_has_a_page_with_its_parameters(call: Any, write: Callable[[str, str], Path]) -> None:
    text = "name: C\ntype: component\nparameters: {limit: {type: integer, default: 3}}\n"
    page = call("docs", write("c.yaml", text + "tasks: [{name: a, type: python_task, script: return limit}]\n")).out
    assert rows(page, "Parameters") == [["`limit`", "integer", "`3`", "", ""]]
    assert "## Cost" not in page


def test_a_page_is_written_and_checked(tmp_path: Path, call: Any) -> None:
    path, page = PIPELINES[0], tmp_path / "new/page.md"
    assert call("docs", path, "--output", page, "--check").code == 1
    assert not page.exists()
    assert call("docs", path, "--output", page).code == 0
    assert call("docs", path, "--output", page, "--check").code == 0
    page.write_text(page.read_text() + "more\n")
    assert call("docs", path, "--output", page, "--check").code == 1


def test_what_to_write_must_be_said(call: Any, write: Callable[[str, str], Path]) -> None:
    assert call("docs").code == 2
    assert call("docs", PIPELINES[0], "--inventory", ROOT / "pipelines").code == 2
    assert call("docs", PIPELINES[0], "--check").code == 2
    assert call("docs", write("a.yaml", "name: a\ntasks: [{}]\n")).code == 2
    assert call("docs", write("b.yaml", "name: b\ntype: test_suite\ntests: [{name: t, input: {}}]\n")).code == 2


# --- inventory -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")
    return tmp_path / "pipelines"


def test_the_shipped_inventory_is_what_the_documents_say() -> None:
    assert main(["docs", "--inventory", str(ROOT / "pipelines"), "--check"]) == 0, "run: docs --inventory pipelines"


def test_a_change_of_a_document_makes_the_inventory_stale_and_renewing_it_keeps_the_rest(
    folder: Path, call: Any
) -> None:
    before = (folder / "README.md").read_text(encoding="utf-8")
    document = folder / "production/incident-report-v1.0.0.yaml"
    document.write_text(document.read_text().replace("drafts an incident report", "drafts a report"))
    stale = call("docs", "--inventory", folder, "--check")
    assert stale.code == 1
    assert "without --check" in stale.err
    assert (folder / "README.md").read_text(encoding="utf-8") == before
    assert call("docs", "--inventory", folder).code == 0
    after = (folder / "README.md").read_text(encoding="utf-8")
    assert after == before.replace("drafts an incident report from", "drafts a report from").replace(
        "and drafts an incident report", "and drafts a report"
    )
    assert call("docs", "--inventory", folder, "--check").code == 0


def test_a_file_whose_version_is_not_that_of_its_name_is_an_error(folder: Path, call: Any) -> None:
    document = folder / "production/incident-report-v1.0.0.yaml"
    document.rename(document.with_name("incident-report-v1.0.1.yaml"))
    said = call("docs", "--inventory", folder, "--check")
    assert said.code == 2
    assert "version 1.0.1" in said.err


def test_a_page_without_marks_is_left_alone(folder: Path, call: Any) -> None:
    page = folder / "README.md"
    page.write_text("# Mine\n")
    said = call("docs", "--inventory", folder)
    assert (said.code, page.read_text()) == (2, "# Mine\n")
    assert BEGIN in said.err
    assert END in said.err
    page.unlink()
    assert call("docs", "--inventory", folder).code == 0
    assert page.read_text().startswith("# Pipelines\n")


def test_the_models_of_a_page_are_those_of_the_environment(tmp_path: Path, call: Any) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/staging.yaml").write_text("model_strategy: {default_model: offline/echo}\n")
    file = tmp_path / "asks.yaml"
    file.write_text("name: Asks\ntasks:\n  - {name: a, type: llm_task, prompt: hello}\n")
    for environment, model in (("development", "gpt-6-luna"), ("staging", "offline/echo")):
        assert rows(call("docs", file, "--env", environment).out, "Tasks")[0][3] == model
        inventory = call("docs", "--inventory", tmp_path, "--env", environment)
        assert (inventory.code, f"| {model} |" in (tmp_path / "README.md").read_text()) == (0, True)
