"""Every YAML block of the user's document compiles, and every pipeline of it runs: `make conformance`."""

from __future__ import annotations

import time

import pytest
from blocks import DOCUMENT, File, files, is_there
from cases import CASES
from told import Row
from world import Compiled, Ran, compiled

from stream_orchestrator.plan.model import every
from stream_orchestrator.spec.problems import Problem, errors_in, render

FILES = [file.path for file in files()] if is_there() else []
PIPELINES = sorted(CASES)
NOT_YET = ("not-yet-supported", "no-effect-yet")

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(300)]


def test_the_document_is_read_where_it_stands_and_every_fence_of_yaml_is_found(document: list[File]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    numbers = {file.block.number for file in document}
    assert len(numbers) == text.count("```yaml\n")
    lines = text.split("\n")
    for file in document:
        assert lines[file.block.line - 2].strip().startswith("```yaml")
        for number, line in enumerate(file.text.rstrip("\n").split("\n")):
            assert not line or line == lines[file.block.line - 1 + number]


@pytest.mark.parametrize("path", FILES)
def test_every_file_of_the_document_compiles(path: str, everything: list[Compiled], rows: dict[str, Row]) -> None:
    [found] = [each for each in everything if each.file.path == path]
    row = rows[path]
    row.not_yet = [
        _short(problem) for problem in found.problems if problem.rule in {"not-yet-supported", "no-effect-yet"}
    ]
    row.compiled = f"{found.seconds * 1000:.0f} ms" if found.ok else "no"
    if found.not_yet and len(found.not_yet) == len(errors_in(found.problems)):
        pytest.xfail(f"not built yet: {', '.join(found.not_yet)}")
    assert found.ok, "\n".join(render(problem) for problem in errors_in(found.problems))


def test_no_pipeline_of_the_document_takes_a_tenth_of_a_second_to_compile(everything: list[Compiled]) -> None:
    """CPU of this process, the best of three: what a quiet machine's clock would say."""
    for each in everything:
        rounds = []
        for _ in range(3):
            started = time.process_time()
            compiled(each.file, each.path)
            rounds.append(time.process_time() - started)
        assert min(rounds) < 0.1, f"{each.file.path}: {min(rounds):.3f} s"


@pytest.mark.slow
@pytest.mark.parametrize("slug", PIPELINES)
def test_every_pipeline_of_the_document_runs(
    slug: str, everything: list[Compiled], ran: dict[str, list[Ran]], rows: dict[str, Row]
) -> None:
    [found] = [each for each in everything if each.slug == slug and each.document.kind == "pipeline"]
    if not found.ok:
        pytest.xfail("does not compile")
    row, case = rows[found.file.path], CASES[slug]
    row.brought = case.brought
    for each in ran[slug]:
        assert each.result is not None, f"no result of {each.event.inputs}"
        row.result.append(each.event.check(each.result, each.asked))
    row.ran = f"{len(ran[slug])} of {len(case.events)}"


@pytest.mark.slow
def test_the_component_runs_inside_of_the_pipeline_that_uses_it(
    everything: list[Compiled], ran: dict[str, list[Ran]], rows: dict[str, Row]
) -> None:
    [component] = [each for each in everything if each.document.kind == "component"]
    tasks = [task["name"] for task in component.document.located.data["tasks"]]
    users = [each for each in everything if each.plan is not None and "component:" in each.file.text]
    for user in users:
        assert user.plan is not None
        inside = {task.name for task in every(user.plan.tasks)}
        assert any(name.endswith(task) for task in tasks for name in inside), inside
        assert all(each.result is not None for each in ran[user.plan.slug])
    rows[component.file.path].ran = f"in block {', '.join(str(user.file.block.number) for user in users)}"


def _short(problem: Problem) -> str:
    return problem.message.split("`")[1] if "`" in problem.message else problem.message
