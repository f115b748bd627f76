from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.errors import RunError, SpecError
from stream_orchestrator.plan import sandbox, templates
from stream_orchestrator.plan.templates import SKIPPED, SkippedReference, TemplateFault, TemplateProblem

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(JSON)
def test_a_value_that_is_one_expression_keeps_its_type(value):
    assert templates.render("  {{ x }}\n", {"x": value}) == value


@given(JSON)
def test_inside_text_strings_are_as_they_are_and_all_else_is_json(value):
    text = templates.render("<{{ x }}>", {"x": value})
    assert text[1:-1] == value if isinstance(value, str) else json.loads(text[1:-1]) == value


@given(st.text())
def test_what_a_template_gives_is_never_a_template_again(text):
    hostile = "{{ secret }}{% for x in y %}" + text
    assert templates.render("{{ x }}!", {"x": hostile, "secret": 1}) == hostile + "!"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("a {{ x }}", 'a {"n": null, "t": "ü"}'),
        ("{{ 'a' ~ x }}", 'a{"n": null, "t": "ü"}'),
        ("{{ none ~ true ~ [false] }}", "nulltrue[false]"),
        ("{{ '%s' % x.n }}{{ '%s'|format(x) }}", 'null{"n": null, "t": "ü"}'),
        ("{{ '{} {}'.format(x.n, x) }}", 'null {"n": null, "t": "ü"}'),
        ("{{ x | string }}", '{"n": null, "t": "ü"}'),
        ("{{ [x.n, 1.5] | join('; ') }}", "null; 1.5"),
        ("{{ x | tojson }}{{ '<b>' | tojson }}", '{"n": null, "t": "ü"}"<b>"'),
        ("{{ true | upper }}", "TRUE"),
        ("{{ x | pprint }}", '{\n  "n": null,\n  "t": "ü"\n}'),
    ],
)
def test_no_way_to_make_text_shows_pythons_repr(template, text):
    assert templates.render(template, {"x": {"n": None, "t": "ü"}}) == text


def test_lists_and_maps_are_rendered_item_by_item_and_their_keys_are_not():
    value = {"{{ a }}": ["{{ a }}", {"b": "x{{ a }}"}], "n": 3}
    assert templates.render(value, {"a": 1}) == {"{{ a }}": [1, {"b": "x1"}], "n": 3}


def test_text_without_templates_is_the_text_itself_newlines_and_all():
    assert templates.render("a } {\n", {}) == "a } {\n"
    assert templates.render("{{ x }} b\n", {"x": 1}) == "1 b\n"


def test_a_key_wins_over_a_method_of_the_same_name():
    assert templates.render("{{ x.items }}", {"x": {"items": [1]}}) == [1]
    assert templates.render("{% for k, v in x.items() %}{{ k }}={{ v }};{% endfor %}", {"x": {"a": 1}}) == "a=1;"


# skipped and unknown names


@pytest.mark.parametrize(
    "template",
    [
        "{{ s }}",
        "a{{ s }}",
        "{{ s.a }}",
        "{{ s['a'].b }}",
        "{{ [s] }}",
        "{{ {'k': s} }}",
        "{{ 'x' if s else 'y' }}",
        "{{ s == 1 }}",
        "{{ s is none }}",
        "{{ tasks.s }}",
        "{{ tasks['s'].a }}",
        "{% for x in s %}{% endfor %}",
        "{{ s | upper }}",
        "{{ tasks.values() | list }}",
        "{{ tasks }}",
    ],
)
def test_whatever_reads_a_skipped_output_is_skipped(template):
    with pytest.raises(SkippedReference):
        templates.render(template, {"s": SKIPPED, "tasks": {"s": SKIPPED}})


@pytest.mark.parametrize(
    "template",
    [
        "{{ s | default('d') }}",
        "{{ s | default('d', true) }}",
        "{{ s.a.b | default('d') }}",
        "{{ tasks.s.a | default('d') }}",
        "{{ nope | default('d') }}",
        "{{ nope.a['b'] | default('d') }}",
        "{{ x.nope | default('d') }}",
        "{{ x.null | default('d', true) }}",
        "{{ 'd' if s is not defined else s }}",
    ],
)
def test_a_default_stands_in_for_what_was_skipped_or_is_not_there(template):
    assert templates.render(template, {"s": SKIPPED, "tasks": {"s": SKIPPED}, "x": {"null": None}}) == "d"


@pytest.mark.parametrize(
    "template", ["{{ nope }}", "a {{ nope }}", "{{ x.nope }}", "{{ [x.nope] }}", "{{ x.a.b.c }}", "{{ nope() }}"]
)
def test_an_unknown_name_is_a_fault_of_the_run(template):
    with pytest.raises(TemplateFault) as caught:
        templates.render(template, {"x": {"a": 1}})
    assert isinstance(caught.value, RunError)


def test_a_misspelt_key_is_told_with_the_one_that_is_there():
    with pytest.raises(TemplateFault, match="did you mean `score`"):
        templates.render("{{ x.scroe }}", {"x": {"score": 1}})


# the sandbox

ESCAPES = (
    "{{ ''.__class__.__mro__ }}",
    "{{ x.__class__ }}",
    "{{ x['__class__'] }}",
    "{{ x | attr('__class__') }}",
    "{{ [x] | map(attribute='__class__') | list }}",
    "{{ '{0.__class__}'.format(x) }}",
    "{{ '{0[a].__class__}'.format(x) }}",
    "{{ x.update({'a': 2}) }}",
    "{{ x.pop('a') }}",
    "{{ l.append(1) }}",
    "{{ l.__add__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ self.__init__ }}",
    "{{ range.__class__ }}",
    "{{ dict.fromkeys([1]) }}",
    "{{ (1).to_bytes(9) }}",
    "{{ joiner }}",
    "{{ namespace }}",
)


@pytest.mark.parametrize("template", ESCAPES)
def test_nothing_but_data_is_reachable(template):
    scope = {"x": {"a": 1}, "l": [1]}
    with pytest.raises(TemplateFault):
        templates.render(template, scope)
    assert scope == {"x": {"a": 1}, "l": [1]}


BOMBS = (
    "{{ 'a' * 10**9 }}",
    "{{ [1] * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ 2 ** 1000000000 }}",
    "{{ 2 ** 3000 ** 3 }}",
    "{{ range(10**9) }}",
    "{{ range(10**9) | list }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(999) %}{% for b in x | map('upper') %}{% endfor %}{% endfor %}",
    "{{ 'a' | center(10**9) }}",
    "{{ 'a'.center(10**9) }}",
    "{{ 'a'.zfill(10**9) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ ('\t' * 99999).expandtabs(99999) }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ '%999999999d' | format(1) }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ '{:>{}}'.format(1, 10**9) }}",
    "{{ 'a' | indent(10**9) }}",
    "{{ [1] | batch(10**9, 0) | list }}",
    "{{ [1] | slice(10**9) | list }}",
    "{{ ('a' * 10**5).replace('a', 'b' * 10**5) }}",
    "{{ ('a' * 10**5) | replace('a', 'b' * 10**5) }}",
    "{{ ('a' * 10**5).join(['b'] * 10**5) }}",
    "{{ (['b'] * 10**5) | join('a' * 10**5) }}",
    "{% set n = namespace(t='a') %}{% for i in range(99) %}{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t }}",
    "{% set n = namespace(t='a') %}{% for i in range(99) %}{% set n.t = n.t + n.t %}{% endfor %}{{ n.t }}",
    "{% for a in range(9999) %}{{ 'a' * 10**5 }}{% endfor %}",
    "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("template", BOMBS)
def test_a_template_that_would_never_end_or_fill_the_memory_is_a_fault(template):
    with pytest.raises(TemplateFault):
        templates.render(template, {"x": ["a"] * 999})


def test_a_large_but_honest_template_is_rendered():
    xs = list(range(5_000))
    assert templates.render("{% for x in xs %}{{ x }},{% endfor %}", {"xs": xs}) == "".join(f"{x}," for x in xs)


@pytest.mark.parametrize("name", ["random", "lipsum"])
def test_what_would_render_differently_the_second_time_is_not_there(name):
    assert name not in sandbox.ENVIRONMENT.filters
    assert name not in sandbox.ENVIRONMENT.globals


@pytest.mark.parametrize("template", ["{{ cycler }}", "{{ x.get }}", "{{ self }}", "{{ range }}"])
def test_what_is_not_json_is_not_a_value(template):
    with pytest.raises(TemplateFault, match="not a JSON value"):
        templates.render(template, {"x": {}})


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ xs | map('upper') }}", ["A"]),
        ("{{ {1: 'a'} }}", {"1": "a"}),
        ("{{ x.keys() }}", ["k"]),
    ],
)
def test_what_is_like_json_becomes_json(template, value):
    assert templates.render(template, {"xs": ["a"], "x": {"k": 1}}) == value


# names


def test_names_are_those_read_from_the_scope_and_no_others():
    value = [
        "{% for i in xs %}{{ i }}{{ loop.index }}{% endfor %}",
        {"a": "{% set y = z %}{{ y }} {{ range(3) }} {{ null }}"},
        3,
    ]
    assert templates.names_in(value) == {"xs", "z"}


def test_references_tell_which_key_of_a_name_is_read():
    found = templates.references(
        "{{ tasks.a }} {{ tasks['b c'].d }} {{ tasks.get('e') }} {{ tasks[x] }} {{ inputs.n.m }}"
    )
    assert found == {("tasks", "a"), ("tasks", "b c"), ("tasks", "e"), ("tasks", None), ("inputs", "n")}


# conditions


@pytest.mark.parametrize(
    "condition",
    [
        "score > 3",
        "{{ score > 3 }}",
        "{{ score }} > 3",
        "{{score}} > 3 and '{{ kind }}' == 'new'",
        'kind == "new"',
        "{% if score > 3 %}true{% endif %}",
        "score is not none",
        "null is none",
        True,
        "true",
        "{{ score }}",
        "kind in ['new']",
    ],
)
def test_conditions_that_hold(condition):
    assert templates.test(condition, {"score": 4, "kind": "new"}) is True


@pytest.mark.parametrize(
    "condition",
    [
        "score < 3",
        "{{ score < 3 }}",
        "{{ score }} < 3",
        "'{{ kind }}' == 'old'",
        False,
        "false",
        "{{ empty }}",
        "empty",
        "{% if score < 3 %}true{% endif %}",
        "{% if true %} False {% endif %}",
        "not score",
    ],
)
def test_conditions_that_do_not_hold(condition):
    assert templates.test(condition, {"score": 4, "kind": "new", "empty": []}) is False


@given(st.text())
def test_a_value_in_a_condition_is_an_operand_and_never_part_of_the_expression(text):
    hostile = text + "' or true or '"
    assert templates.test("'{{ kind }}' == 'new'", {"kind": hostile}) is False
    assert templates.test("{{ kind }} == other", {"kind": hostile, "other": hostile}) is True


def test_a_condition_reads_names_without_braces_too():
    assert templates.names_in_test("a.b > 3 and {{ c }} == 'x'") == {"a", "c"}
    assert templates.references_in_test("tasks['x y'].n > 1") == {("tasks", "x y")}


def test_a_condition_on_a_skipped_task_is_skipped():
    with pytest.raises(SkippedReference):
        templates.test("s.score > 3", {"s": SKIPPED})


# problems, before anything runs


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("{{ a", 1),
        ("a\n\n{{ b + }}", 3),
        ("\n{% if x %}", 2),
        ("\n\n{{ x | nofilter }}\n", 3),
        ("a\n{{ x is nothing }}", 2),
        ("{% include 'x' %}", 1),
        ("x\n{% import 'x' as y %}", 2),
        ("{% extends 'x' %}", 1),
        ("{% endfor %}", 1),
    ],
)
def test_a_broken_template_is_a_problem_with_its_line(template, line):
    with pytest.raises(TemplateProblem) as caught:
        templates.names_in(template)
    assert caught.value.line == line
    assert isinstance(caught.value, SpecError)


@pytest.mark.parametrize("condition", ["score >", "{{ a", "'x {{ a }} y' == 'z'", "a b", "a }} {{ b"])
def test_a_broken_condition_is_a_problem(condition):
    with pytest.raises(TemplateProblem):
        templates.names_in_test(condition)
