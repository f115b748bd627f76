"""The loader: what YAML means here, where things are, and what is refused."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_orchestrator.errors import UsageError
from stream_orchestrator.spec.loader import MAX_BYTES, load_bytes, load_file, load_text
from stream_orchestrator.spec.located import Mark
from stream_orchestrator.spec.nodes import MAX_DEPTH, MAX_NODES


def data(text: str) -> object:
    (located,) = load_text(text)
    assert located.problems == ()
    return located.data


def problem(raw: str | bytes):
    found = load_bytes(raw.encode() if isinstance(raw, str) else raw, file="f.yaml")
    problems = [each for located in found for each in located.problems]
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("off", "off"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("12:30:45", "12:30:45"),
        ("2024-01-15", "2024-01-15"),
        ("2024-01-15T10:00:00Z", "2024-01-15T10:00:00Z"),
        ("1_000", "1_000"),
        ("017", 17),
        ("0o17", 15),
        ("0xff", 255),
        ("-3", -3),
        ("1e3", 1000.0),
        ("1.50", 1.5),
        (".5", 0.5),
        ("1.2.0", "1.2.0"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("!!int 5", 5),
        ("!!float 5", 5.0),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("=", "="),
    ],
)
def test_a_plain_word_means_what_yaml_1_2_says(text, value):
    found = data(f"a: {text}")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


def test_every_key_and_value_has_its_place():
    (located,) = load_text("name: x\ntasks:\n  - name: score\n    script: |\n      one\n      two\n  - {name: b}\n")
    assert located.mark(("tasks",)) == Mark(2, 1, 5)
    assert located.mark(("tasks", 0, "name")) == Mark(3, 5, 4)
    assert located.mark(("tasks", 0, "name"), value=True) == Mark(3, 11, 5)
    assert located.mark(("tasks", 1)) == Mark(7, 5, 1)
    assert located.mark(("tasks", 1, "name")) == Mark(7, 6, 4)
    assert located.mark(("tasks", 0, "missing")) == Mark(3, 5, 1), "a missing key is shown at its parent"


@pytest.mark.parametrize(
    ("text", "line", "column", "word"),
    [
        ("s: |\n  one\n    two\n", 2, 3, "two"),
        ("s: |2\n    one\n  two\n", 2, 1, "two"),
        ("s: >\n\n  one\n  two\n", 3, 1, "two"),
        ("s: two words\n", 1, 1, "two"),
        ('s: "two words"\n', 1, 1, "two"),
        ("s: a two\n", 1, 3, "two"),
    ],
)
def test_a_place_inside_a_text_is_found_in_the_file(text, line, column, word):
    (located,) = load_text(text)
    mark = located.inside(("s",), line, column=column, width=3)
    source = text.split("\n")[mark.line - 1]
    assert source[mark.column - 1 :].startswith(word)


def test_a_stream_holds_several_documents_and_empty_ones_are_passed_over():
    found = load_text("a: 1\n---\n---\nb: 2\n...\n")
    assert [(each.data, each.mark((next(iter(each.data)),)).line) for each in found] == [({"a": 1}, 1), ({"b": 2}, 4)]


def test_aliases_become_copies():
    found = data("a: &x {n: 1}\nb: *x\nc: [*x, *x]")
    found["b"]["n"] = 2
    assert found["a"] == {"n": 1}
    assert found["c"] == [{"n": 1}, {"n": 1}]


def test_a_merge_adds_the_keys_that_are_not_written():
    text = "base: &base {a: 1, b: {c: 2}}\nmore: &more {a: 5, d: 4}\nuse:\n  <<: [*base, *more]\n  b: 3\n"
    (located,) = load_text(text)
    assert located.data["use"] == {"b": 3, "a": 1, "d": 4}
    assert located.mark(("use", "a")).line == 1
    assert located.mark(("use", "d")).line == 2


def test_keys_are_the_text_that_stands_there():
    assert data("404: a\ntrue: b\n~: c") == {"404": "a", "true": "b", "~": "c"}


@pytest.mark.parametrize(
    ("text", "rule", "line", "column"),
    [
        ("a: 1\nb: 2\na: 3\n", "duplicate-key", 3, 1),
        ("x:\n  - {b: 1, b: 2}\n", "duplicate-key", 2, 12),
        ("a: 1\n'a': 3\n", "duplicate-key", 2, 1),
        ("a: {{ x }}\n", "yaml-key", 1, 5),
        ("? [1, 2]\n: b\n", "yaml-key", 1, 3),
        ("a: b: c\n", "yaml-syntax", 1, 5),
        ("a:\n\tb: 1\n", "yaml-tab", 2, 1),
        ("a: 'x\n", "yaml-syntax", 2, 1),
        ("a: [1,\n", "yaml-syntax", 2, 1),
        ("- a\nb: 1\n", "yaml-syntax", 2, 1),
        ('a: "\\q"\n', "yaml-syntax", 1, 5),
        ("a: *nope\n", "yaml-alias", 1, 4),
        ("a: &x [1, *x]\n", "yaml-alias", 1, 11),
        ("a: &x {b: {c: *x}}\n", "yaml-alias", 1, 15),
        ("a: !!python/object/apply:os.system ['true']\n", "yaml-tag", 1, 4),
        ("a: !env HOME\n", "yaml-tag", 1, 4),
        ("a: !!int x\n", "yaml-tag", 1, 4),
        ("a: .inf\n", "number-not-finite", 1, 4),
        ("a: .nan\n", "number-not-finite", 1, 4),
        ("a: 1e999\n", "number-too-large", 1, 4),
        ("a: 18446744073709551616\n", "number-too-large", 1, 4),
        ("a: 0x1ffffffffffffffff\n", "number-too-large", 1, 4),
        (f"a: {'9' * 100_000}\n", "number-too-large", 1, 4),
        ("a:\n  <<: 3\n", "yaml-merge", 2, 7),
        ("%FOO\n---\na: 1\n", "yaml-syntax", 1, 5),
        ("", "empty-file", 1, 1),
        ("# nothing\n", "empty-file", 1, 1),
        ("a: 1\nb: \x07\n", "bad-character", 2, 4),
        (b"\xff\xfea\x00", "not-utf8", 1, 1),
        ("a: é\nb: ".encode() + b"\xe9", "not-utf8", 2, 4),
        (b"\xef\xbb\xbfa: 1\na: 2\n", "duplicate-key", 2, 1),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not-utf8", 1, 1),
    ],
)
def test_what_is_wrong_is_said_with_line_column_and_hint(text, rule, line, column):
    found = problem(text)
    assert (found.rule, found.line, found.column) == (rule, line, column), found
    assert found.hint
    assert "None" not in found.message


def test_all_faults_that_do_not_hinder_reading_are_reported_at_once():
    found = load_text("a: 1\na: 2\nb: .inf\n---\nc: !x 1\nd: 1\nd: 2\n")
    assert [[p.rule for p in each.problems] for each in found] == [
        ["duplicate-key", "number-not-finite"],
        ["yaml-tag", "duplicate-key"],
    ]


def test_documents_before_a_syntax_error_are_still_read():
    first, second = load_text("a: 1\n---\nb: [\n")
    assert first.data == {"a": 1}
    assert not second.readable
    assert second.problems[0].line == 4


def bomb(levels: int) -> str:
    lines = ["a: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"b{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        pytest.param(bomb(9).encode(), "too-many-values", id="alias bomb"),
        pytest.param(bomb(400).encode(), "too-many-values", id="long alias bomb"),
        pytest.param(b"[" * 20_000, "too-deep", id="flow lists"),
        pytest.param(b"{a: " * 20_000, "too-deep", id="flow maps"),
        pytest.param(b"- " * 20_000, "too-deep", id="block lists"),
        pytest.param(b"a: " + b"x" * 10_000_000, "too-large", id="10 MB"),
    ],
)
def test_a_bomb_is_refused_quickly_and_small(raw, rule):
    started = time.process_time()
    assert problem(raw).rule == rule
    assert time.process_time() - started < 0.2
    tracemalloc.start()
    problem(raw)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert memory < 20_000_000


def test_more_values_than_allowed_are_refused_and_as_many_as_allowed_are_not():
    assert problem(b"a: [" + b"1," * MAX_NODES + b"]").rule == "too-many-values"
    assert data("a: [" + "1," * (MAX_NODES - 4) + "]")


def test_a_huge_file_is_not_even_read_whole(tmp_path):
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"a: " + b"x" * 50_000_000)
    started = time.process_time()
    (found,) = load_file(path)
    assert time.process_time() - started < 0.2
    assert found.problems[0].rule == "too-large"
    assert str(MAX_BYTES // 1000) in found.problems[0].message.replace(",", "")


def test_depth_counts_what_aliases_stand_for():
    half = MAX_DEPTH // 2 + 5
    text = f"a: &a {'[' * half}{']' * half}\nb: {'[' * half}*a{']' * half}\n"
    assert problem(text).rule == "too-deep"


def test_the_deepest_allowed_document_is_built():
    depth = MAX_DEPTH - 1
    value = data(f"a: {'[' * depth}{']' * depth}")["a"]
    for _ in range(depth - 1):
        (value,) = value
    assert value == []


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        load_file(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="cannot read"):
        load_file(tmp_path)


YAMLISH = st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,?~<= \n\t0.x\u00e9\ufeff\x00\u2028", max_size=80)


@settings(max_examples=200)
@given(st.binary(max_size=200) | YAMLISH.map(lambda text: text.encode("utf-8")))
def test_any_bytes_give_data_or_problems_with_a_place(raw):
    lines = max(1, len(raw) + 1)
    for located in load_bytes(raw):
        assert located.readable or located.problems
        for found in located.problems:
            assert 1 <= found.line <= lines
            assert found.column >= 1
            assert found.hint


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn"), exclude_characters="\ufeff"))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60)
@given(st.dictionaries(WORDS, JSON, min_size=1))
def test_json_is_yaml_and_comes_back_as_it_was(value):
    (located,) = load_text(json.dumps(value, ensure_ascii=False))
    assert located.problems == ()
    assert located.data == value


def test_names_of_files_are_kept(tmp_path: Path):
    path = tmp_path / "p.yaml"
    path.write_text("a: 1\na: 2\n")
    (located,) = load_file(path)
    assert located.problems[0].file == str(path)
    assert located.problems[0].source == "a: 2"
