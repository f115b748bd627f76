"""Input rules: every type, every rule, the order of the checks, and the words of a refusal."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_orchestrator.errors import RunError
from stream_orchestrator.spec.documents import read
from stream_orchestrator.spec.inputs import MAX_DEPTH, InputRules, InvalidInput, parse
from stream_orchestrator.spec.loader import load_text
from stream_orchestrator.spec.patterns import BadPattern, pattern
from stream_orchestrator.spec.sanitizing import clean


def rules(inputs: dict[str, Any] | None = None, **asks: Any) -> InputRules:
    return InputRules.from_plan(inputs or {}, asks)


def refused(checker: InputRules, payload: Any) -> InvalidInput:
    raw = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    with pytest.raises(InvalidInput) as raised:
        checker.check(raw)
    assert isinstance(raised.value, RunError)
    return raised.value


def errors(variable: dict[str, Any], value: Any) -> tuple[str, ...]:
    checker = rules({"v": variable})
    try:
        checked = checker.check(orjson.dumps({"v": value}))
    except InvalidInput as wrong:
        assert wrong.reason == "invalid_input"  # noqa: PT017  - the other outcome is asserted too
        return wrong.errors
    assert checked == {"v": value}
    assert type(checked["v"]) is type(value), "nothing is coerced"
    return ()


# --- types -------------------------------------------------------------------------------------------------------

VALUES: list[Any] = ["text", "", 5, 0, -3, 5.5, 5.0, True, False, [1], [], {"a": 1}, {}, None]
FITS = {
    "string": [0, 1],
    "integer": [2, 3, 4],
    "number": [2, 3, 4, 5, 6],
    "float": [2, 3, 4, 5, 6],
    "boolean": [7, 8],
    "array": [9, 10],
    "object": [11, 12],
}


@pytest.mark.parametrize("kind", FITS)
@pytest.mark.parametrize("place", range(len(VALUES)), ids=lambda place: repr(VALUES[place]))
def test_a_value_is_accepted_as_it_is_or_not_at_all(kind, place):
    found = errors({"type": kind}, VALUES[place])
    if place in FITS[kind]:
        assert found == ()
    else:
        assert len(found) == 1
        assert found[0].startswith("`v` must be ")
        assert found[0].endswith("(type)")


def test_the_words_name_variable_and_rule():
    assert errors({"type": "integer"}, "5") == ("`v` must be a whole number without a decimal point, not text (type)",)
    assert errors({"type": "integer"}, 5.0) == ("`v` must be a whole number without a decimal point (type)",)
    assert errors({"type": "integer"}, True) == (
        "`v` must be a whole number without a decimal point, not true or false (type)",
    )


# --- rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "good", "bad", "rule"),
    [
        ({"type": "string", "validation": "^https?://.*\\.(pdf|html)$"}, "http://a/b.pdf", "http://a/b.pdf?x", "regex"),
        ({"type": "string", "validation": "a|b"}, "b", "ab", "regex"),
        ({"type": "string", "validation": {"regex": "[a-z]+"}}, "abc", "abc1", "regex"),
        ({"type": "string", "validation": {"regex": "[a-z]+"}}, "abc", "abc\n", "regex"),
        ({"type": "string", "validation": {"min_length": 2}}, "éé", "é", "min_length"),
        ({"type": "string", "validation": {"max_length": 2}}, "😀😀", "abc", "max_length"),
        ({"type": "string", "options": ["a", "b"]}, "a", "c", "options"),
        ({"type": "integer", "validation": {"minimum": 3}}, 3, 2, "minimum"),
        ({"type": "number", "validation": {"maximum": 0.5}}, 0.5, 0.51, "maximum"),
        ({"type": "integer", "options": [0, 1]}, 1, 2, "options"),
        ({"type": "number", "options": [1]}, 1.0, 1.5, "options"),
        ({"type": "array", "validation": {"min_items": 1}}, [0], [], "min_items"),
        ({"type": "array", "validation": {"max_items": 1}}, [0], [0, 1], "max_items"),
        ({"type": "array", "options": ["a", "b"]}, ["b", "b"], ["a", "c"], "options"),
        ({"type": "array", "options": ["a"]}, [], "a", "type"),
        ({"type": "array", "options": [1]}, [1], [True], "options"),
        ({"type": "object", "validation": {"schema": {"required": ["a"]}}}, {"a": 1}, {"b": 1}, "schema"),
        ({"type": "array", "validation": {"schema": {"items": {"type": "integer"}}}}, [1], [1, "x"], "schema"),
        ({"type": "string", "validation": {"schema": {"pattern": "^a"}}}, "ab", "ba", "schema"),
    ],
)
def test_a_rule_accepts_and_refuses(variable, good, bad, rule):
    assert errors(variable, good) == ()
    (said,) = errors(variable, bad)
    assert said.startswith("`v` ")
    assert said.endswith(f"({rule})")


def test_every_rule_that_is_broken_is_said_and_no_value_is_quoted():
    checker = rules(
        {
            "a": {"type": "string", "validation": {"min_length": 20, "regex": "[0-9]+"}},
            "b": {"type": "integer"},
            "c": {"type": "object", "validation": {"schema": {"properties": {"p": {"enum": [1]}}, "required": ["q"]}}},
        },
        strict_mode=True,
    )
    payload = {"a": "secret-a", "b": "secret-b", "c": {"p": "secret-c"}, "other": "secret-d"}
    found = refused(checker, payload)
    assert [each.rsplit("(", 1)[1] for each in found.errors] == [
        "min_length)",
        "regex)",
        "type)",
        "schema)",
        "strict_mode)",
    ]
    assert "secret" not in str(found)
    assert str(found) == str(refused(checker, payload)), "the same words for ever"


def test_a_flood_of_errors_is_cut():
    found = refused(rules({"a": {"type": "string"}}, strict_mode=True), {f"k{n}": 1 for n in range(1000)})
    assert len(found.errors) == 1001
    assert str(found).endswith("and 981 more")


# --- required, defaults, null ------------------------------------------------------------------------------------


def test_a_variable_without_default_is_required_and_one_with_default_is_not():
    checker = rules(
        {"a": {"type": "string"}, "b": {"type": "array", "default": [1]}, "c": {"type": "string", "required": False}}
    )
    assert refused(checker, {}).errors == ("`a` is required and missing (required)",)
    values = checker.check(b'{"a": "x"}')
    assert values == {"a": "x", "b": [1], "c": None}
    values["b"].append(2)
    assert checker.check(b'{"a": "x"}')["b"] == [1], "each event has its own default"


def test_null_is_accepted_only_where_nothing_is_the_default():
    checker = rules({"a": {"type": "string", "required": False}, "b": {"type": "string", "default": None}})
    assert checker.check(b'{"a": null, "b": null}') == {"a": None, "b": None}
    assert errors({"type": "string"}, None) == ("`v` must be text, not nothing (type)",)
    assert errors({"type": "string", "default": "x"}, None) == ("`v` must be text, not nothing (type)",)


# --- the payload -------------------------------------------------------------------------------------------------


def test_without_variables_the_keys_of_the_payload_are_the_variables():
    assert rules().check(b'{"b": 1, "a": [true]}') == {"b": 1, "a": [True]}
    assert rules(strict_mode=True).check(b'{"b": 1}') == {"b": 1}
    assert rules().undeclared({"b": 1}) == ()


def test_undeclared_keys_are_kept_and_reported_unless_strict():
    checker = rules({"a": {"type": "integer"}})
    values = checker.check(b'{"z": 1, "a": 2}')
    assert values == {"a": 2, "z": 1}
    assert checker.undeclared(values) == ("z",)
    strict = rules({"a": {"type": "integer"}}, strict_mode=True)
    assert refused(strict, {"z": 1, "a": 2}).errors == ("`z` is not an input variable (strict_mode)",)


@pytest.mark.parametrize(
    ("raw", "reason", "said"),
    [
        (b"", "not_json", "not JSON"),
        (b"{", "not_json", "not JSON"),
        (b"{'a': 1}", "not_json", "not JSON"),
        (b'{"a": NaN}', "not_json", "not JSON"),
        (b'{"a": Infinity}', "not_json", "not JSON"),
        (b'{"a": 1e999}', "not_json", "not JSON"),
        (b'{"a": "\xff"}', "not_json", "not JSON"),
        (b'{"a": "\\ud800"}', "not_json", "not JSON"),
        (b'{"a": 1} x', "not_json", "not JSON"),
        (b"\xef\xbb\xbf{}", "not_json", "not JSON"),
        (b"[" * 100_000, "not_json", "not JSON"),
        (b"[1]", "invalid_input", "must be a JSON object"),
        (b"null", "invalid_input", "must be a JSON object"),
        (b'"a"', "invalid_input", "must be a JSON object"),
        (b'{"a": 18446744073709551616}', "invalid_input", "64 bits"),
        (b'{"a": [-9223372036854775809]}', "invalid_input", "64 bits"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "not_json", "not JSON"),
        (b'{"a": ' + b"9" * 300 + b"}", "invalid_input", "64 bits"),
        (b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "invalid_input", "levels deep"),
        (b'{"a": ' + b"[" * 1000 + b"]" * 1000 + b"}", "invalid_input", "levels deep"),
    ],
)
def test_a_payload_that_is_no_clean_json_object_is_refused(raw, reason, said):
    found = refused(rules(), raw)
    assert found.reason == reason
    assert said in str(found)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": 18446744073709551615, "b": -9223372036854775808}',
        b'{"a": "12345678901234567890123"}',
        b'{"a": 0.12345678901234567890123}',
        b'{"a": 123456789012345678901234.5}',
        b'{"a": ' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}",
        b'{"a": [' + b"[]," * 1000 + b"[]]}",
    ],
)
def test_what_only_looks_too_large_is_accepted(raw):
    assert rules().check(raw) == json.loads(raw)


def test_the_size_is_looked_at_before_anything_else():
    checker = rules(max_input_size="10B")
    assert refused(checker, b"x" * 11).reason == "too_large"
    assert refused(checker, b"x" * 10).reason == "not_json"
    assert checker.check(b'{"a": 100}') == {"a": 100}


def test_switched_off_only_size_and_json_are_checked():
    checker = rules(
        {"a": {"type": "integer"}, "b": {"type": "string", "default": "x"}}, enabled=False, strict_mode=True
    )
    assert checker.check(b'{"a": "5", "z": 1}') == {"a": "5", "b": "x", "z": 1}
    assert checker.check(b"{}") == {"a": None, "b": "x"}
    assert refused(checker, b"[]").reason == "invalid_input"


# --- input_data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "input_data"),
    [({"a": 1, "b": 2}, {"a": 1, "b": 2}), ({"a": 1, "input_data": [3]}, [3]), ({"input_data": None}, None), ({}, {})],
)
def test_input_data_is_the_key_of_that_name_else_the_whole_payload(payload, input_data):
    checker = rules()
    raw = orjson.dumps(payload)
    assert checker.admitted(raw) == (checker.check(raw), {**payload, "input_data": input_data})


def test_input_data_is_what_was_sanitised_without_the_defaults():
    checker = rules({"a": {"type": "string"}, "d": {"type": "string", "default": "x"}}, sanitization=True)
    raw = b'{"a": "<b>hi</b>", "z": "<i>ho</i>"}'
    values, names = checker.admitted(raw)
    assert values == checker.check(raw) == {"a": "hi", "d": "x", "z": "ho"}
    assert names == {**values, "input_data": {"a": "hi", "z": "ho"}}


# --- sanitising --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("a < b & c > d", "a < b & c > d"),
        ("<b>bold</b> text", "bold text"),
        ("<script>alert(1)</script>rest", "rest"),
        ("<style>x{}</style>rest", "rest"),
        ("<img src=x onerror=alert(1)>", ""),
        ("&lt;script&gt;alert(1)&lt;/script&gt;x", "x"),
        ("&amp;lt;b&amp;gt;x", "x"),
        ("AT&amp;T", "AT&T"),
        ("tab\tand\nline\r", "tab\tand\nline\r"),
        ("bell\x07nul\x00esc\x1b[31m", "bellnulesc[31m"),
        ("&#0;&#7;x", "x"),
        ("e\u0301", "é"),
        ("<!-- c -->x", "x"),
    ],
)
def test_sanitised_text_has_no_html_and_no_control_characters(text, cleaned):
    found = clean(text)
    assert found.replace("\ufffd", "") == cleaned


@settings(max_examples=300)
@given(st.text(alphabet="<>&;/ablt#39x0'\"=!-\x00\u0301e ", max_size=60))
def test_cleaning_twice_changes_nothing_and_leaves_no_tag(text):
    import html

    once = clean(text)
    assert clean(once) == once
    assert "<script" not in html.unescape(once).lower()


def test_sanitising_comes_before_the_rules_and_reaches_into_lists_and_maps():
    checker = rules(
        {
            "a": {"type": "string", "validation": {"sanitization": True, "max_length": 2}},
            "b": {"type": "object", "validation": {"sanitization": True}},
            "c": {"type": "string"},
        }
    )
    raw = b'{"a": "<b>hi</b>", "b": {"x": ["<i>y</i>", 1]}, "c": "<b>kept</b>"}'
    assert checker.check(raw) == {"a": "hi", "b": {"x": ["y", 1]}, "c": "<b>kept</b>"}


# --- time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variable",
    [
        {"type": "string", "validation": "(a+)+$"},
        {"type": "string", "validation": "(a|aa)*b"},
        {"type": "string", "validation": {"schema": {"pattern": "^(a+)+$"}}},
    ],
)
def test_a_hostile_pattern_does_not_stall_on_a_hostile_input(variable):
    started = time.process_time()
    assert len(errors(variable, "a" * 200_000 + "!")) == 1
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(?=a)", "look-ahead"),
        ("(?!a)", "look-ahead"),
        ("(?<=a)b", "look-behind"),
        ("(?<!a)b", "look-behind"),
        (r"(a)\1", "back-references"),
        ("a++", "repetition"),
        ("a{2000}", "repetition"),
        ("(", "not closed"),
        ("[a", "not closed"),
        ("a)", "closes nothing"),
        ("*a", "repeats nothing"),
        ("[z-a]", "runs backwards"),
        (r"\Z", "does not know"),
        ("((a{100}){100}){100}", "too large|repetition"),
        ("a" * 20_000, "10,000 characters"),
    ],
)
def test_a_pattern_that_is_not_linear_or_not_whole_is_refused_with_the_reason(text, why):
    with pytest.raises(BadPattern, match=why) as raised:
        pattern(text)
    assert raised.value.hint


# --- declarations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "rule", "path", "severity"),
    [
        ("{type: string, default: 5}", "bad-default", "default", "error"),
        ("{type: string, options: [a], default: b}", "bad-default", "default", "error"),
        ("{type: string, required: true, default: b}", "conflicting-keys", "default", "error"),
        ("{type: string, validation: {min_length: 3}, default: ab}", "bad-default", "default", "error"),
        ("{type: string, validation: {min_length: 3}, example: ab}", "bad-example", "example", "warning"),
        ("{type: integer, options: [1, '2']}", "bad-value", "options[1]", "error"),
        ("{type: string, options: []}", "bad-value", "options", "error"),
        ("{type: string, validation: '('}", "bad-regex", "validation", "error"),
        ("{type: integer, validation: 'a'}", "bad-rule", "validation", "error"),
        ("{type: integer, validation: {max_length: 3}}", "bad-rule", "validation.max_length", "error"),
        ("{type: string, validation: {min_length: 5, max_length: 3}}", "bad-rule", "validation.min_length", "error"),
        ("{type: object, validation: {schema: {type: objekt}}}", "bad-schema", "validation.schema", "error"),
        (
            "{type: object, validation: {schema: {$ref: 'http://127.0.0.1:1/x'}}}",
            "bad-schema",
            "validation.schema",
            "error",
        ),
        (
            "{type: object, validation: {schema: {$ref: 'file:///etc/passwd'}}}",
            "bad-schema",
            "validation.schema",
            "error",
        ),
        ("{type: string, validation: {schema: {pattern: '(?=a)'}}}", "bad-schema", "validation.schema", "error"),
    ],
)
def test_a_declaration_that_cannot_work_is_found_when_compiling(variable, rule, path, severity):
    text = f"input_variables:\n  v: {variable}\ntasks: [{{name: a, type: python_task, script: x}}]\n"
    (located,) = load_text(text)
    (problem,) = read(located).problems
    assert (problem.rule, problem.path, problem.severity) == (rule, f"input_variables.v.{path}", severity)
    assert problem.line == 2
    assert problem.hint


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(), JSON))
def test_every_json_object_is_kept_as_it_is(payload):
    raw = orjson.dumps(payload)
    assert rules().check(raw) == payload


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789.eE-truefalsn\\u ', max_size=60).map(str.encode))
def test_any_bytes_are_an_object_or_refused(raw):
    try:
        payload = parse(raw)
    except InvalidInput as wrong:
        assert wrong.reason in ("not_json", "invalid_input")  # noqa: PT017  - the other outcome is asserted too
    else:
        assert payload == json.loads(raw)
