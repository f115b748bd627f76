"""Config files in problems: keys and structure are shown, values never."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.errors import SpecError
from stream_orchestrator.plan.loading import load_path
from stream_orchestrator.spec.config import load
from stream_orchestrator.spec.hushed import keys_only
from stream_orchestrator.spec.problems import render

SECRETS = [
    "kafka: {sasl_pasword: hunter7hunter7}",
    "email: {smtp_url: [hunter7hunter7]}",
    'blobs: {url: "s3://AK:hunter7@bucket", thresold: 1}',
    'kafka: {sasl_password: "a, hunter7: b", sasl_usernam: "hunter7"}',
    "kafka:\n  sasl_password: hunter7\n  sasl_pasword: hunter7",
    "channels:\n  slack: [https://hooks.example/hunter7]",
    "kafka:\n  sasl_password: hunter7: hunter7",
    "kafka: [hunter7]",
    "kafka: {sasl_password: 'it''s, hunter7: b', sasl_usernam: u}",
    "trust:\n  fingerprint_key: [\n    hunter7,\n    hunter7]",
    "extends: base.yaml\nkafka:\n  - hunter7",
]


@pytest.mark.parametrize("text", SECRETS)
def test_no_problem_of_a_config_file_shows_a_value(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/base.yaml").write_text("topics: {prefix: a.}\n")
    file = tmp_path / "config/development.yaml"
    file.write_text(text + "\n")
    try:
        load(file=file, environ={})
        said = ""
    except SpecError as error:
        said = "\n".join([str(error), error.hint, *map(render, error.problems)])
    found = "\n".join(render(problem) for each in load_path(file) for problem in each.problems)
    assert "hunter7" not in said + found
    assert found, "it is wrong, and that is said"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("  sasl_pasword: hush", "  sasl_pasword: ****"),
        ("kafka: {a: hush, b: [hush, 1]}", "kafka: {a: ****, b: [****, *]}"),
        ('kafka: {a: "x, b: y", "c": 1}', 'kafka: {a: *** ** **, "c": *}'),
        ("  - url: s3://K:S@b # why", "  - url: ********** * ***"),
        ("hush", "****"),
        ("", ""),
    ],
)
def test_a_line_keeps_its_keys_and_its_columns(line: str, shown: str) -> None:
    assert len(keys_only(line)) == len(line)

    assert keys_only(line) == shown


@given(st.text(max_size=60))
def test_every_line_keeps_its_length(line: str) -> None:
    assert len(keys_only(line)) == len(line)
