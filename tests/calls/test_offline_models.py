"""The offline models: deterministic, labelled, and really computing."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_orchestrator.calls import faults, offline, offline_json, offline_text
from stream_orchestrator.calls.http import Failure
from stream_orchestrator.calls.offline_json import CannotFill
from stream_orchestrator.calls.tokens import estimate
from stream_orchestrator.kernel.effects import Answer, CallRequest

STORY = """Prices of grain rose again. The weather was dull. Grain merchants say that grain stores are empty,
and that prices of grain will rise until the harvest. Nobody knows what the harvest brings. A dog barked."""


def ask(model: str, text: str, **more: Any) -> Answer:
    messages = ({"role": "system", "content": "You are brief."}, {"role": "user", "content": text})
    return offline.answer(CallRequest(model=model, messages=messages, **more))


@pytest.mark.parametrize("model", [name for name in offline.names() if name != "offline/fail"])
def test_every_offline_model_says_what_it_is_costs_nothing_and_answers_alike(model: str) -> None:
    answer = ask(model, STORY)
    assert answer.model == model
    assert answer.error_type == ""
    assert answer.text
    assert answer.usd == 0
    assert answer.output_tokens == estimate(answer.text)
    assert answer.input_tokens > estimate(STORY)
    assert ask(model, STORY) == answer


def test_an_echo_is_the_last_message_to_the_letter() -> None:
    assert ask("offline/echo", " as it is \n").text == " as it is \n"


def test_a_summary_takes_the_leading_sentences_in_their_order() -> None:
    summary = ask("offline/summary", STORY).text
    assert summary.startswith("Prices of grain rose again. Grain merchants say")
    assert "dog" not in summary


@given(st.lists(st.text(string.ascii_lowercase + " ", min_size=1, max_size=30), max_size=12), st.integers(1, 4))
def test_every_sentence_of_a_summary_is_one_of_the_text(parts: list[str], limit: int) -> None:
    text = ". ".join(parts)
    found = offline_text.sentences(offline_text.summary(text, limit=limit))
    assert len(found) <= limit
    assert all(sentence in offline_text.sentences(text) for sentence in found)


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Classify as positive, negative, or neutral:\nI love this kettle, it is excellent", "positive"),
        ("Classify as positive, negative, or neutral:\nIt broke at once, awful", "negative"),
        ("Is it positive, negative or neutral?\nThe parcel is brown", "neutral"),
        ("Classify the sentiment (positive/negative/neutral): not good at all", "negative"),
        ("Categories: billing, technical, sales\n\nI was billed twice", "billing"),
        (
            'Choose one of: "refund request", "praise", "other". The text: please refund my money, a refund!',
            "refund request",
        ),
        ("Answer yes or no: is it so? yes it is", "yes"),
        ("Priority [low|high]\nThe server is down, urgent!", "high"),
        ("Label: LOW | MEDIUM | HIGH. Body: all is calm", "MEDIUM"),
    ],
)
def test_a_classification_is_one_of_the_options_that_the_prompt_names(prompt: str, answer: str) -> None:
    assert ask("offline/classify", prompt).text == answer
    assert ask("gpt-4o", prompt).text == answer


def test_a_text_that_speaks_of_alternatives_offers_no_choice() -> None:
    text = "They went out, one of them, or neither, and came back.\n" * 3
    prompt = f"Sum this up\n\n{text}\nShe was among them, the gentlemen of the navy, who had won.\n{text}"
    assert ask("gpt-4o", prompt).text.startswith("[offline] ")


def test_a_title_does_not_end_a_sentence_of_a_summary() -> None:
    said = "Mr. Bennet and Mrs. Long met at Netherfield."
    assert offline_text.sentences(f"{said} It rained.") == [said, "It rained."]


def test_without_options_a_classification_is_a_sentiment() -> None:
    assert ask("offline/classify", "Great, I love it").text == "positive"


def test_the_stand_in_for_any_other_model_is_labelled() -> None:
    answer = ask("gpt-4o", STORY)
    assert answer.model == "offline/gpt-4o"
    assert answer.text.startswith("[offline] Prices of grain")


def test_a_failing_model_may_be_tried_again() -> None:
    answer = ask("offline/fail", "x")
    assert (answer.error_type, answer.retryable, answer.text) == ("offline_fault", True, "")


def test_an_unknown_offline_model_names_those_that_exist() -> None:
    answer = ask("offline/nope", "x")
    assert (answer.error_type, answer.retryable) == ("unknown_model", False)
    assert all(name in answer.message for name in offline.names())


def test_an_answer_is_cut_at_max_tokens_and_says_so() -> None:
    answer = ask("offline/echo", "word " * 100, params={"max_tokens": 5})
    assert answer.finish_reason == "length"
    assert answer.output_tokens <= 5
    assert ask("offline/echo", "word", params={"max_tokens": 5}).finish_reason == "stop"


def test_a_request_without_messages_is_answered() -> None:
    assert offline.answer(CallRequest(model="offline/echo", messages=())).text == ""


def test_every_offline_model_and_every_kind_of_fault_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    kinds = {*faults.STATUS_TYPES.values(), *get_args(Failure), "ambiguous", "missing_key", "refused", "content_filter"}
    assert [name for name in (*offline.names(), *sorted(kinds)) if f"`{name}`" not in page] == []


# --- JSON


def test_what_the_text_says_by_name_is_taken() -> None:
    schema = {
        "type": "object",
        "properties": {
            "order_id": {"type": "integer"},
            "customer": {"type": "string"},
            "total": {"type": "number"},
            "express": {"type": "boolean"},
            "status": {"enum": ["open", "paid"]},
        },
    }
    text = 'Order id: 17, customer: "Ann Lee", total = 30.5; express is yes; status: PAID'
    answer = json.loads(ask("offline/json", text, output_schema=schema).text)
    assert answer == {"order_id": 17, "customer": "Ann Lee", "total": 30.5, "express": True, "status": "paid"}


def test_any_model_fills_a_schema_offline() -> None:
    schema = {
        "type": "object",
        "properties": {"sentiment": {"enum": ["positive", "negative"]}},
        "required": ["sentiment"],
    }
    assert json.loads(ask("claude-3-opus", "What a terrible day", output_schema=schema).text) == {
        "sentiment": "negative"
    }


def test_a_schema_that_cannot_be_filled_is_a_fatal_fault_and_not_a_wrong_answer() -> None:
    answer = ask("offline/json", "x", output_schema={"type": "string", "pattern": "^[A-Z]{7}[0-9]{3}$"})
    assert (answer.error_type, answer.retryable) == ("bad_request", False)


@pytest.mark.parametrize("schema", [{"$ref": "#/$defs/none"}, {"type": "no such type"}, {"enum": [], "type": "string"}])
def test_a_broken_schema_is_a_fault(schema: dict[str, Any]) -> None:
    with pytest.raises(CannotFill):
        offline_json.fill(schema, "x")


def test_a_schema_that_contains_itself_ends() -> None:
    tree = {"type": "object", "properties": {"child": {"$ref": "#"}, "name": {"type": "string"}}, "required": ["name"]}
    jsonschema_rs.validate(tree, offline_json.fill(tree, "x"))
    with pytest.raises(CannotFill, match="without end"):
        offline_json.fill({**tree, "required": ["child"]}, "x")


leaves = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("string")}, optional={"minLength": st.integers(0, 9), "maxLength": st.integers(9, 20)}
    ),
    st.fixed_dictionaries(
        {"type": st.just("integer")}, optional={"minimum": st.integers(-9, 3), "maximum": st.integers(4, 50)}
    ),
    st.fixed_dictionaries({"type": st.just("number")}, optional={"exclusiveMinimum": st.integers(-9, 3)}),
    st.fixed_dictionaries(
        {"type": st.just("integer"), "multipleOf": st.integers(1, 5), "minimum": st.integers(-20, 20)}
    ),
    st.sampled_from(
        [{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, {"enum": ["a", 2]}, {"const": 7}]
    ),
    st.sampled_from([{"type": "string", "format": "date-time"}, {"type": "string", "format": "email"}]),
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=5), inner, max_size=4).map(
        lambda properties: {"type": "object", "properties": properties, "required": sorted(properties)[:2]}
    )


schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        objects(inner),
        st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 3)),
        st.builds(lambda one: {"anyOf": [one, {"type": "null"}]}, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(schemas, st.text(max_size=60))
def test_whatever_is_filled_is_valid(schema: dict[str, Any], text: str) -> None:
    value = offline_json.fill(schema, text)
    jsonschema_rs.validate(schema, value)
    assert offline_json.fill(schema, text) == value


def test_a_name_that_no_offline_model_has_is_known_before_anything_is_asked() -> None:
    asked = ["offline/ecco", " Offline/Echo ", "offline/fail", "gpt-6-luna", "offline", "offline/{{ kind }}"]
    assert offline.unknown_models(asked) == ["offline/ecco"]
