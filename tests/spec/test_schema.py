"""The published schemas, and the page that is made from the same models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import pytest
from pydantic import BaseModel

from stream_orchestrator.errors import UsageError
from stream_orchestrator.spec import kinds
from stream_orchestrator.spec.documents import read, read_file
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.spec.reference import SECTIONS, renewed
from stream_orchestrator.spec.schema import json_schema, kinds_of_documents
from stream_orchestrator.spec.translate import OTHER_WORDS, built_keys

ACCEPTED = sorted((Path(__file__).parent / "accepted").rglob("*.yaml"))
PAGE = Path(__file__).parents[2] / "docs" / "dialect.md"
TASK = {"name": "a", "type": "python_task", "script": "return 1"}


def models(annotation: Any, seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        seen.add(annotation)
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation, seen)
            for each in field.metadata:
                yield from models(each, seen)
    for inner in get_args(annotation):
        yield from models(inner, seen)


ALL_MODELS = sorted({m for kind in kinds.KINDS for m in models(kind.model, set())}, key=lambda model: model.__name__)


@pytest.mark.parametrize("kind", kinds_of_documents())
def test_every_kind_has_a_schema_that_is_one(kind):
    schema = json_schema(kind)
    assert schema["$schema"].endswith("2020-12/schema")
    jsonschema_rs.validator_for(schema)


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.name)
def test_a_good_document_meets_its_schema(path):
    for document in read_file(path):
        validator = jsonschema_rs.validator_for(json_schema(document.kind))
        assert [error.message for error in validator.iter_errors(document.located.data)] == []


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": None},
        {"tasks": []},
        {"unknown": 1},
        {"name": 3},
        {"timeout": True},
        {"version": "1.0"},
        {"tasks": [{**TASK, "scrpt": 1}]},
        {"tasks": [{**TASK, "type": "pyton_task"}]},
        {"tasks": [{"name": "a", "type": "python_task"}]},
        {"tasks": [{**TASK, "error_handling": {"retry_count": -1}}]},
        {"tasks": [{**TASK, "error_handling": {"fallback": [{"name": "b"}]}}]},
        {"input_variables": {"a": {"type": "int"}}},
        {"input_variables": {"a": {"type": "string", "validation": {"max_lenght": 1}}}},
    ],
)
def test_the_schema_refuses_what_the_models_refuse(change):
    import json

    data = {"tasks": [TASK], **change}
    validator = jsonschema_rs.validator_for(json_schema())
    assert not validator.is_valid(data)
    (located,) = load_text(json.dumps(data))
    assert not read(located).ok


def test_free_keys_and_single_fallbacks_meet_the_schema():
    fallback = {"name": "b", "type": "llm_task", "prompt": "x", "x-b": 1}
    data = {"x-a": 1, "tasks": [{**TASK, "x-c": 1, "error_handling": {"fallback": fallback}}]}
    assert jsonschema_rs.validator_for(json_schema()).is_valid(data)


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(UsageError, match="no kind of document `pipelin`") as raised:
        json_schema("pipelin")
    assert "did you mean `pipeline`?" in raised.value.hint


@pytest.mark.parametrize("model", ALL_MODELS, ids=lambda model: model.__name__)
def test_every_model_says_what_it_is_and_what_each_key_means(model):
    assert model.__doc__
    assert model.noun != "this map" or model.__name__ in ("ShiftStep", "WatchStep")
    undescribed = [name for name, field in model.model_fields.items() if not field.description]
    assert undescribed == []


def test_words_of_other_dialects_point_at_keys_that_exist():
    keys = {key for model in ALL_MODELS for key in built_keys(model)}
    for target in OTHER_WORDS.values():
        assert set(target.split(".")) <= keys, target


def test_the_page_is_made_from_the_models():
    page = PAGE.read_text(encoding="utf-8")
    assert renewed(page) == page, "run: python -m stream_orchestrator.spec.reference docs/dialect.md"
    for _, model in SECTIONS:
        for key in built_keys(model):
            assert f"| `{key}` |" in page


def test_the_examples_of_the_page_are_good_documents():
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        (located,) = load_text(block)
        assert read(located).problems == ()
