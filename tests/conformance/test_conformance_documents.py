"""The documents beside pipelines: what can run runs, the rest loads. Each row of the table says which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cases import CASES
from commands import said
from told import Row
from world import HELPERS, Compiled

pytestmark = [pytest.mark.embedded, pytest.mark.slow, pytest.mark.timeout(300)]

SUITE = "tests/unit/test_content_analysis.yaml"
INTEGRATION = "tests/integration/test_pipeline_integration.yaml"
LOAD = "tests/performance/load_test.yaml"
SCALE = "0.005"  # ten minutes are three seconds
ARTICLE = "An article of many words, all of them in order. " * 200


def test_the_suite_reports_what_the_pipelines_own_rules_make_of_it(
    everything: list[Compiled], folder: Path, rows: dict[str, Row]
) -> None:
    """Its first text has 54 characters and the pipeline wants 100; the message of the second is not the pipeline's."""
    data = folder / "tests" / "unit" / "data"
    data.mkdir(exist_ok=True)
    (data / "long_article.txt").write_text(ARTICLE)
    report = said(folder, "test", SUITE, "--offline", exits=(1,))
    first, second, third = report["documents"][0]["tests"]
    assert first["status"] == "failed"
    assert any("min_length" in failure for failure in first["failures"]), first
    assert second["status"] == "failed"
    assert not any("ValidationError" in failure for failure in second["failures"]), "the error itself was expected"
    assert any("Content cannot be empty" in failure for failure in second["failures"]), second
    assert third["status"] == "passed", third
    row = rows[SUITE]
    row.ran, row.brought = "3 of 3", "long_article.txt"
    row.result += ["1 passed", "2 failed, rightly: 54 characters, another message"]


def test_the_integration_test_runs_between_its_setup_and_its_teardown(
    everything: list[Compiled], folder: Path, rows: dict[str, Row]
) -> None:
    report = said(folder, "test", INTEGRATION, "--offline", "--functions", str(HELPERS))
    [outcome] = report["documents"][0]["tests"]
    assert outcome["status"] == "passed", outcome
    row = rows[INTEGRATION]
    row.ran, row.brought = "1 of 1", "3 setup and 2 teardown steps, 2 checks"
    row.result += ["passed"]


def test_the_load_test_puts_every_scenario_on_the_broker(
    everything: list[Compiled], folder: Path, rows: dict[str, Row]
) -> None:
    report = said(folder, "test", LOAD, "--offline", "--time-scale", SCALE)
    outcomes = report["documents"][0]["tests"]
    assert [outcome["name"] for outcome in outcomes] == ["normal_load", "peak_load", "stress_test"]
    assert all(outcome["measures"]["sent"] > 0 for outcome in outcomes)
    assert all(outcome["measures"]["missing"] == 0 for outcome in outcomes)
    row = rows[LOAD]
    row.ran, row.brought = "3 of 3", f"time scale {SCALE}"
    row.result += [f"{outcome['name']} {outcome['status']}, {outcome['measures']['sent']} sent" for outcome in outcomes]


def test_each_environment_has_the_settings_that_its_files_say(
    everything: list[Compiled], folder: Path, rows: dict[str, Row]
) -> None:
    wanted = {
        "development": (False, "DEBUG", "config/development.yaml"),
        "production": (True, "INFO", "config/production.yaml"),
    }
    for env, (cache, level, file) in wanted.items():
        told = said(folder, "config", "explain", "--env", env)
        settings = {row["key"]: row for row in told["settings"]}
        assert settings["cache.enabled"]["value"] is cache
        assert settings["cache.enabled"]["origin"]["file"].endswith(file)
        assert settings["logging.level"]["value"] == level
        assert settings["monitoring.metrics_enabled"]["value"] is True
        assert settings["monitoring.metrics_enabled"]["origin"]["file"].endswith("config/base.yaml")
        rows[file].ran, rows[file].result = "yes", [f"--env {env}: extends base.yaml"]
    rows["config/base.yaml"].ran, rows["config/base.yaml"].result = "yes", ["extended by both"]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (
            "deployment/blue-green-config.yaml",
            {"kind": "deployment", "environments": {"blue", "green"}, "deployment_process": 5},
        ),
        ("monitoring/alerts.yaml", {"kind": "monitoring", "health_checks": 2, "alerts": 3, "dashboards": 2}),
    ],
)
def test_what_nothing_runs_yet_loads_whole(
    path: str, wanted: dict[str, Any], everything: list[Compiled], folder: Path, rows: dict[str, Row]
) -> None:
    report = said(folder, "validate", path)
    [document] = report["documents"]
    assert document["ok"]
    assert document["kind"] == wanted["kind"]
    assert not document["problems"]
    [found] = [each for each in everything if each.file.path == path]
    data = found.document.located.data
    for key, count in wanted.items():
        if isinstance(count, int):
            assert len(data[key]) == count
        elif isinstance(count, set):
            assert set(data[key]) == count
    rows[path].ran, rows[path].result = "no", ["loads; no command carries it out yet"]


@pytest.mark.parametrize("slug", [slug for slug, case in CASES.items() if case.lint])
def test_lint_finds_what_the_documents_bad_examples_show(
    slug: str, everything: list[Compiled], folder: Path, rows: dict[str, Row]
) -> None:
    [found] = [each for each in everything if each.plan is not None and each.plan.slug == slug]
    report = said(folder, "lint", str(found.path.relative_to(folder)), "--functions", str(HELPERS), exits=(0, 1))
    rules = {problem["rule"] for document in report["documents"] for problem in document["problems"]}
    assert rules >= set(CASES[slug].lint), rules
    rows[found.file.path].result.append(f"lint: {', '.join(CASES[slug].lint)}")
