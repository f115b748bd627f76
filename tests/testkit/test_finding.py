"""Which pipeline a test is about, and which files it may read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stream_orchestrator.errors import UsageError
from stream_orchestrator.testkit.data import TestData
from stream_orchestrator.testkit.finding import find_pipeline

Write = Callable[[str, str], Path]


def pipeline(name: str, version: str = "1.0.0") -> str:
    return f"name: {name}\nversion: {version}\ntasks: [{{name: a, type: python_task, script: '1'}}]\n"


@pytest.fixture
def project(write: Write, tmp_path: Path) -> Path:
    write("pipelines/production/content-analysis-v3.2.1.yaml", pipeline("Content Analysis", "3.2.1"))
    write("pipelines/production/content-analysis-v3.10.0.yaml", pipeline("Content Analysis", "3.10.0"))
    write("pipelines/staging/content-analysis-v4.0.0.yaml", pipeline("Content Analysis", "4.0.0"))
    write("pipelines/production/content-v1.0.0.yaml", pipeline("Content"))
    write("pipelines/broken.yaml", "tasks: [\n")
    return tmp_path


@pytest.mark.parametrize(
    ("document", "named", "title", "found"),
    [
        ("tests/unit/test_content_analysis.yaml", None, "Whatever", "production/content-analysis-v3.10.0.yaml"),
        ("tests/unit/all.yaml", None, "Content Analysis Unit Tests", "production/content-analysis-v3.10.0.yaml"),
        ("tests/test_content.yaml", None, "Content Analysis Tests", "production/content-v1.0.0.yaml"),
        ("tests/test_content-analysis-v3.2.1.yaml", None, "x", "production/content-analysis-v3.2.1.yaml"),
        ("tests/a.yaml", "content-analysis-v3.2.1.yaml", "x", "production/content-analysis-v3.2.1.yaml"),
        ("tests/a.yaml", "content-analysis-v3.2.1", "x", "production/content-analysis-v3.2.1.yaml"),
        ("tests/a.yaml", "Content Analysis", "x", "production/content-analysis-v3.10.0.yaml"),
        ("tests/a.yaml", "staging/content-analysis-v4.0.0.yaml", "x", "staging/content-analysis-v4.0.0.yaml"),
        (
            "tests/a.yaml",
            "../pipelines/staging/content-analysis-v4.0.0.yaml",
            "x",
            "staging/content-analysis-v4.0.0.yaml",
        ),
    ],
)
def test_the_pipeline_of_a_test_is_found(
    project: Path, document: str, named: str | None, title: str, found: str
) -> None:
    assert find_pipeline(project / document, named=named, title=title) == project / "pipelines" / found


def test_a_pipeline_beside_the_test_is_nearer_than_one_elsewhere(project: Path, write: Write) -> None:
    beside = write("tests/content-analysis.yaml", pipeline("Content Analysis", "0.1.0"))
    assert find_pipeline(project / "tests/test_content_analysis.yaml", named=None, title="x") == beside


def test_only_staging_has_it_and_that_is_taken(project: Path, write: Write) -> None:
    staged = write("pipelines/staging/mail-v2.0.0-rc.1.yaml", pipeline("Mail", "2.0.0-rc.1"))
    assert find_pipeline(project / "test_mail.yaml", named=None, title="x") == staged


def test_a_release_stands_above_its_candidates(project: Path, write: Write) -> None:
    write("pipelines/production/mail-v2.0.0-rc.1.yaml", pipeline("Mail", "2.0.0-rc.1"))
    release = write("pipelines/production/mail-v2.0.0.yaml", pipeline("Mail", "2.0.0"))
    assert find_pipeline(project / "test_mail.yaml", named=None, title="x") == release


def test_a_misspelt_name_is_an_error_with_the_nearest_one(project: Path) -> None:
    with pytest.raises(UsageError) as wrong:
        find_pipeline(project / "tests/a.yaml", named="content-analysis-v3.2.2.yaml", title="x")
    assert "content-analysis-v3.2.1.yaml" in wrong.value.hint


def test_a_document_may_call_a_pipeline_by_its_files_name(project: Path, write: Write) -> None:
    longer = write("pipelines/production/mail-v1.0.0.yaml", pipeline("Mail Sorting Pipeline", "1.0.0"))
    assert find_pipeline(project / "tests/test_mail.yaml", named=None, title="x") == longer
    assert find_pipeline(project / "tests/load_test.yaml", named=None, title="Mail Load Test") == longer


def test_part_of_a_word_holds_no_name(project: Path) -> None:
    with pytest.raises(UsageError, match="neither the file's name nor"):
        find_pipeline(project / "tests/test_discontent.yaml", named=None, title="Contents")


def test_data_is_read_from_the_folder_of_the_test_and_from_beside_it(write: Write, tmp_path: Path) -> None:
    write("tests/data/long.txt", "the data folder\n")
    write("tests/long.txt", "beside\n")
    write("tests/beside.json", '{"a": [1]}')
    write("tests/data/lines.jsonl", '{"n": 1}\n\n{"n": 2}\n')
    data = TestData(tmp_path / "tests/test_x.yaml")
    assert data.render("{{ load_test_data('long.txt') }}") == "the data folder\n"
    assert data.render({"x": "{{ load_test_data('beside.json').a[0] }}"}) == {"x": 1}
    assert data.render("{{ load_test_data('lines.jsonl') }}") == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    "name", ["../secret.txt", "/etc/hostname", "data/../../secret.txt", "link.txt", "out/secret.txt"]
)
def test_no_name_leads_out_of_the_folder(write: Write, tmp_path: Path, name: str) -> None:
    write("secret.txt", "secret")
    write("tests/data/a.txt", "")
    (tmp_path / "tests/data/link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "tests/data/out").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="leads out of"):
        TestData(tmp_path / "tests/test_x.yaml").load(name)


def test_a_file_that_is_not_there_is_told_with_the_nearest_one(write: Write, tmp_path: Path) -> None:
    write("tests/data/long_article.txt", "")
    with pytest.raises(UsageError) as wrong:
        TestData(tmp_path / "tests/test_x.yaml").load("long_artikle.txt")
    assert "long_article.txt" in wrong.value.hint


def test_an_unknown_name_in_a_template_is_told_with_what_may_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as wrong:
        TestData(tmp_path / "test_x.yaml").render("{{ articles.first }}", {"setup": {}})
    assert "`setup`" in wrong.value.hint
    assert "`load_test_data`" in wrong.value.hint
