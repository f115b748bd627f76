"""Config: files that extend each other, variables on top, and where each value was said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.errors import SpecError, UsageError
from stream_orchestrator.spec import config, settings
from stream_orchestrator.spec.layers import Layers, leaves
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.spec.located import Located

SHOWN = """# config/base.yaml
name: "Content Analysis Pipeline"
monitoring:
  metrics_enabled: true
  tracing_enabled: true

# config/development.yaml
extends: "base.yaml"
cache:
  enabled: false  # Disable caching in development
logging:
  level: "DEBUG"

# config/production.yaml
extends: "base.yaml"
cache:
  enabled: true
  ttl: 3600
logging:
  level: "INFO"
"""
S = "STREAM_ORCHESTRATOR__"
STRANGE = ["a" * 5_000, "a/" * 5_000, "a\0b", "circle"]  # what a system says of each of these is no surprise


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes files of a project, and stands elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


def load(**options: Any) -> config.Configuration:
    return config.load(**{"environ": {}, **options})


def test_maps_merge_lists_replace_and_null_deletes(project: Any) -> None:
    root = project(
        config__base="alerting: {enabled: true, channels: [slack, email]}\ncache: {enabled: true, ttl: 60}\n",
        config__production="extends: base.yaml\nalerting: {channels: [pagerduty]}\ncache: {ttl: null}\n",
    )
    found = load(env="production", near=[root / "pipelines"])
    assert found.data["alerting"] == {"enabled": True, "channels": ["pagerduty"]}
    assert found.data["cache"] == {"enabled": True}


def test_every_value_knows_its_file_and_line_or_its_variable(project: Any) -> None:
    root = project(
        config__base="logging:\n  level: INFO\ncalls:\n  max_in_flight: 7\n",
        config__development="extends: base.yaml\n\ncalls:\n  connect_timeout: 5 seconds\n",
    )
    found = load(near=[root], environ={f"{S}TOPICS__PREFIX": "mine."})
    assert str(found.origin("logging", "level")).endswith("base.yaml:2")
    assert str(found.origin("calls", "max_in_flight")).endswith("base.yaml:4")
    assert str(found.origin("calls", "connect_timeout")).endswith("development.yaml:4")
    assert str(found.origin("topics", "prefix")) == f"{S}TOPICS__PREFIX"
    assert str(found.origin("calls", "first_byte_timeout")) == "default"
    assert found.section(settings.Calls) == settings.Calls(max_in_flight=7, connect_timeout=5)


def test_a_circle_is_refused_and_printed(project: Any) -> None:
    root = project(
        config__development="extends: a.yaml\n", config__a="extends: b.yaml\n", config__b="extends: a.yaml\n"
    )
    with pytest.raises(SpecError, match=r"config/a\.yaml → config/b\.yaml → config/a\.yaml"):
        load(near=[root])


@pytest.mark.parametrize("target", ["../../secrets.yaml", "/etc/passwd", "nowhere.yaml", "link.yaml", *STRANGE])
def test_extends_stays_inside_the_root_and_names_a_file_that_is_there(project: Any, target: str) -> None:
    root = project(project__config__development=f"extends: {json.dumps(target)}\n", secrets="logging: {level: DEBUG}\n")
    (root / "project/config/link.yaml").symlink_to(root / "secrets.yaml")
    (root / "project/config/circle").symlink_to("circle")
    with pytest.raises(SpecError, match=r"outside of|no file|no NUL") as caught:
        load(near=[root / "project"])
    assert "development.yaml:1" in str(caught.value)


def test_extends_may_lead_to_a_folder_beside_config(project: Any) -> None:
    root = project(config__development="extends: ../shared/all.yaml\n", shared__all="logging: {level: ERROR}\n")
    assert load(near=[root]).data["logging"] == {"level": "ERROR"}


def test_the_config_of_an_environment_is_found_above_the_pipeline(project: Any) -> None:
    root = project(config__staging="logging: {level: ERROR}\n", pipelines__production__p="tasks: []\n")
    assert load(env="staging", near=[root / "pipelines/production/p.yaml"]).data["logging"] == {"level": "ERROR"}


def test_a_folder_that_anybody_may_write_to_is_not_searched(project: Any) -> None:
    root = project(config__development="logging: {level: ERROR}\n", pipelines__p="tasks: []\n")
    root.chmod(0o777)
    assert load(near=[root / "pipelines/p.yaml"]).files == ()


def test_an_environment_that_nobody_wrote_is_refused_with_the_nearest(project: Any) -> None:
    root = project(config__staging="logging: {level: ERROR}\n")
    with pytest.raises(UsageError, match="no environment `prodution`") as caught:
        load(env="prodution", near=[root])
    assert "did you mean `production`?" in caught.value.hint
    assert "staging" in caught.value.hint


@pytest.mark.parametrize(("env", "level", "line"), [("development", "DEBUG", 12), ("production", "INFO", 20)])
def test_a_text_that_shows_several_files_is_those_files(project: Any, env: str, level: str, line: int) -> None:
    root = project(shown=SHOWN)
    found = load(env=env, file=root / "shown.yaml")
    assert found.data["logging"] == {"level": level}
    assert found.data["monitoring"] == {"metrics_enabled": True, "tracing_enabled": True}
    assert found.origin("logging", "level").mark.line == line


def test_an_environment_that_the_text_does_not_hold_is_refused(project: Any) -> None:
    with pytest.raises(UsageError, match="holds no environment `staging`"):
        load(env="staging", file=project(shown=SHOWN) / "shown.yaml")


def test_a_comment_that_names_a_file_divides_nothing_inside_a_document() -> None:
    text = "# orders.yaml\nname: a\ntasks:\n# see other.yaml\n# other.yaml\n  - name: x\n    type: python_task\n"
    (document,) = load_text(text)
    assert document.data["tasks"] == [{"name": "x", "type": "python_task"}]


def test_what_a_file_says_wrongly_is_an_error_at_its_line(project: Any) -> None:
    root = project(config__development="logging:\n  level: LOUD\ncalls:\n  max_in_flite: 3\n")
    with pytest.raises(SpecError) as caught:
        load(near=[root])
    lines = {problem.line for problem in caught.value.problems}  # type: ignore[attr-defined]
    assert lines == {2, 4}


@pytest.mark.parametrize(
    ("name", "text"),
    [("TOPICS__PARTITIONS", "0"), ("CALLS__CONNECT_TIMEOUT", "soon"), ("KAFKA__SASL_MECHANISM", "KERBEROS")],
)
def test_what_a_variable_says_wrongly_names_the_variable(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=S + name) as caught:
        config.from_environ({S + name: text})
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "text", "place", "value"),
    [
        ("TOPICS__PARTITIONS", "16", ("topics", "partitions"), 16),
        ("CALLS__FIRST_BYTE_TIMEOUT", "2 minutes", ("calls", "first_byte_timeout"), 120.0),
        ("CACHE__ENABLED", "false", ("cache", "enabled"), False),
        ("FETCH__ALLOWED_HOSTS", "a.example, b.example", ("fetch", "allowed_hosts"), ["a.example", "b.example"]),
        ("FETCH__ALLOWED_HOSTS", "a.example", ("fetch", "allowed_hosts"), ["a.example"]),
        ("KAFKA__SASL_PASSWORD", "a,b", ("kafka", "sasl_password"), "a,b"),
        ("KAFKA__SASL_USERNAME", "12", ("kafka", "sasl_username"), "12"),
        ("COST_MANAGEMENT__OPTIMIZATION_MODE", "cost", ("cost_management", "optimization_mode"), "cost"),
        ("LOGGING__LEVEL", "ERROR", ("logging", "level"), "ERROR"),
    ],
)
def test_a_variable_is_read_as_its_setting_wants_it(name: str, text: str, place: tuple[str, str], value: Any) -> None:
    found = config.from_environ({S + name: text})
    assert getattr(getattr(found.model, place[0]), place[1]) == value
    assert str(found.origin(*place)) == S + name


def test_variables_nobody_reads_are_strangers_and_do_nothing() -> None:
    environ = {f"{S}TOPICS__PREFX": "x", f"{S}TOPICS": "x", f"{S}TOPICS__PREFIX": "p.", "OTHER": "x"}
    assert config.strangers_in(environ) == (f"{S}TOPICS", f"{S}TOPICS__PREFX")
    assert config.from_environ(environ).data == {"topics": {"prefix": "p."}}


def test_our_own_variable_stands_before_the_common_one() -> None:
    environ = {"KAFKA_BOOTSTRAP_SERVERS": "a:1", f"{S}KAFKA__BOOTSTRAP_SERVERS": "b:2"}
    assert config.from_environ(environ).section(settings.Kafka).bootstrap_servers == "b:2"


def test_a_pipeline_is_no_config_file(project: Any) -> None:
    with pytest.raises(UsageError, match="is a pipeline"):
        load(file=project(p="tasks: []\n") / "p.yaml")


values = st.recursive(
    st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2) | st.none(),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
maps = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


def merged(below: Any, above: Any) -> Any:
    """The rule, said another way."""
    if not isinstance(above, dict):
        return above
    base = below if isinstance(below, dict) else {}
    keys = dict.fromkeys([*base, *above])
    out = {key: merged(base.get(key), above[key]) if key in above else base[key] for key in keys}
    return {key: value for key, value in out.items() if value is not None}


@given(st.lists(maps, max_size=4))
def test_layers_merge_by_the_rule_and_every_leaf_has_one_origin(layers: list[dict[str, Any]]) -> None:
    stack, expected = Layers(), {}
    for number, layer in enumerate(layers):
        stack.lay(Located(data=layer, file=str(number)))
        expected = merged(expected, layer)
    assert stack.data == expected
    assert {path for path, value in leaves(stack.data) if not isinstance(value, dict)} == set(stack.origins)
