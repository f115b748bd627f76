"""What README and docs show is true: their pipelines compile, their first example runs, their commands exist."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

import stream_orchestrator

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "pipelines").rglob("*.md")]
)
COMMAND = str(Path(sys.executable).parent / "stream-orchestrator")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            found.append(Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2]))
    return [block for block in found if block.language in languages]


def where(block: object) -> str:
    return f"{block.page.relative_to(ROOT)}:{block.line}" if isinstance(block, Block) else str(block)


def commands(name: str) -> list[tuple[str, list[str]]]:
    """Every command line of `name` on a page, with continued lines joined, as `page:line` and words."""
    found = []
    for block in blocks("console", "sh", "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            if line.startswith(f"$ {name} "):
                found.append((where(block), shlex.split(line)[2:]))
    return found


@pytest.mark.parametrize("block", [b for b in blocks("yaml") if "tasks:" in b.text], ids=where)
def test_a_pipeline_on_a_page_compiles(block: Block, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "pipelines/production/functions", tmp_path / "functions")
    (tmp_path / "shown.yaml").write_text(block.text, encoding="utf-8")
    done = subprocess.run([COMMAND, "validate", "--json", "shown.yaml"], cwd=tmp_path, capture_output=True, text=True)
    (document,) = json.loads(done.stdout)["documents"]
    assert done.returncode == 0, document["problems"]
    assert document["problems"] == []


async def test_the_first_pipeline_of_the_readme_gives_the_results_that_it_shows(tmp_path: Path) -> None:
    readme = [block for block in blocks("yaml", "json") if block.page.name == "README.md" and block.page.parent == ROOT]
    pipeline, events, results = (block.text for block in readme[:3])
    (tmp_path / "greeter.yaml").write_text(pipeline, encoding="utf-8")
    loaded = stream_orchestrator.load(tmp_path / "greeter.yaml")
    for event, shown in zip(events.splitlines(), map(json.loads, results.splitlines()), strict=True):
        result = await loaded.run(json.loads(event))
        assert {"status": result.status, "output": result.output} == shown


async def test_the_second_pipeline_of_the_readme_counts_what_is_bad(tmp_path: Path) -> None:
    _, second, *_ = [block.text for block in blocks("yaml") if block.page == ROOT / "README.md"]
    (tmp_path / "reviews.yaml").write_text(second, encoding="utf-8")
    result = await stream_orchestrator.load(tmp_path / "reviews.yaml").run({"reviews": ["awful", "good", "awful"]})
    assert result.output == "2 of 3 are bad"


# The architecture page shows signatures, which are no programs.
@pytest.mark.parametrize("block", [b for b in blocks("python") if b.page.stem != "architecture"], ids=where)
def test_python_on_a_page_is_python(block: Block) -> None:
    """Pages show fragments, some of them inside of a coroutine."""
    compile(block.text, where(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    found = [block for block in blocks("yaml", "python") if block.page == ROOT / "README.md"]
    readme = {block.language: block.text for block in reversed(found)}  # of each language the first
    (tmp_path / "greeter.yaml").write_text(readme["yaml"], encoding="utf-8")
    command = [sys.executable, "-c", readme["python"]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@cache
def help_of(*words: str) -> str:
    done = subprocess.run([COMMAND, *words, "--help"], capture_output=True, text=True, env={"COLUMNS": "200"})
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(("place", "words"), commands("stream-orchestrator"))
def test_a_command_on_a_page_exists_with_its_options(place: str, words: list[str]) -> None:
    named = words[:2] if words[0] in ("dlq", "topics") else words[:1]
    shown = help_of(*named)
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    assert [option for option in options if not re.search(rf"{option}\b", shown)] == [], place


@pytest.mark.parametrize(("place", "words"), commands("make"))
def test_a_thing_to_make_on_a_page_can_be_made(place: str, words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{words[0]}:.*## ", makefile, flags=re.MULTILINE), place


def test_every_command_of_the_reference_is_one_and_no_other_is() -> None:
    page = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([a-z]+)[ `]", page.split("## Events")[0], flags=re.MULTILINE)) - {"exit"}
    shown = set(re.findall(r"^[│|]?\s{0,2}([a-z]+)\s{2,}\S", help_of().split("Commands", 1)[1], flags=re.MULTILINE))
    assert listed == shown


def test_the_index_lists_every_page() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\((\w+\.md)\)", (ROOT / "docs/README.md").read_text(encoding="utf-8"))) == pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert not target or (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("path", sorted((ROOT / "deploy").rglob("*.yaml")), ids=lambda path: path.name)
def test_configuration_for_others_is_yaml(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))
