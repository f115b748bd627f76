"""What a template may do with a claim check: hand it on. Anything else would be a wrong answer that nobody sees."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.plan import templates
from stream_orchestrator.plan.claims import KEY, MARK, TooLarge, claims_in, replaced
from stream_orchestrator.plan.scripts import Script
from stream_orchestrator.plan.templates import TemplateFault

CLAIM = {KEY: {"uri": "file:///blobs/2026010100/" + "a" * 64, "sha256": "a" * 64, "bytes": 5_000_000}}
SCOPE: dict[str, Any] = {
    "big": CLAIM,
    "some": {"rows": CLAIM, "count": 7},
    "many": [CLAIM, {"n": 1}],
    "tasks": {"big": CLAIM, "gone": templates.SKIPPED},
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ big }}", CLAIM),
        ("{{ tasks.big }}", CLAIM),
        ("{{ many[0] }}", CLAIM),
        ("{{ some }}", SCOPE["some"]),
        ("{{ [big, some.rows] }}", [CLAIM, CLAIM]),
        ("{{ {'k': big} }}", {"k": CLAIM}),
        ("{{ some.values() | list }}", [CLAIM, 7]),
        ("{{ big | default('none', true) }}", CLAIM),
        ("{{ 'yes' if big else 'no' }}", "yes"),
        ("{{ big is defined and big is not none }}", True),
        ("{{ some.count }} of {{ many | length }}", "7 of 2"),
        ({"a": ["{{ big }}", 1]}, {"a": [CLAIM, 1]}),
    ],
)
def test_a_claim_check_is_handed_on_as_it_is(template: Any, value: Any) -> None:
    assert templates.render(template, SCOPE) == value


@pytest.mark.parametrize(
    "template",
    [
        *("Read: {{ big }}", "Read: {{ some }}", "{{ big ~ '!' }}", "{{ '%s' % big }}", "{{ '{}'.format(big) }}"),
        *("{{ big | tojson }}", "{{ some | tojson }}", "{{ big | upper }}", "{{ big | string }}", "{{ many | join }}"),
        *(
            "{{ big | length }}",
            "{{ big.name }}",
            "{{ big.claim.x }}",
            "{{ big[0] }}",
            "{{ some.rows['$claim'] }}",
            "{{ big | first }}",
        ),
        *(
            "{{ big == 1 }}",
            "{{ 1 == big }}",
            "{{ 1 in big }}",
            "{{ big > 1 }}",
            "{{ some == {'rows': 1, 'count': 1} }}",
        ),
        *("{{ big is mapping }}", "{{ big is string }}", "{{ big is sequence }}", "{{ big is sameas(1) }}"),
        *("{{ many | map('length') | list }}", "{{ many | map(attribute='n') | list }}", "{{ many | first | length }}"),
        *(
            "{% for row in big %}{{ row }}{% endfor %}",
            "{{ big | int(3) }}",
            "{{ big | sum }}",
            "{{ [big] | unique | list }}",
        ),
    ],
)
def test_looking_into_a_claim_check_is_a_fault_that_says_what_to_do(template: str) -> None:
    with pytest.raises(TooLarge, match="let a python_task make what is needed"):
        templates.render(template, SCOPE)


def test_a_value_that_looks_inside_by_a_way_of_its_own_is_a_fault_too() -> None:
    with pytest.raises(TemplateFault):
        templates.render("{{ big | items | list }}", SCOPE)


@pytest.mark.parametrize("condition", ["big | length > 3", "'{{ big }}' == 'x'", "'x' in big", "{{ big.done }}"])
def test_a_condition_on_what_cannot_be_seen_is_a_fault(condition: str) -> None:
    with pytest.raises(TooLarge):
        templates.test(condition, SCOPE)


def test_a_script_gets_a_claim_check_whole_wherever_its_templates_stand() -> None:
    assert list(Script.parse("return {{ big }}").prepare(SCOPE).bindings.values()) == [CLAIM]
    assert list(Script.parse('return "so: {{ big }}"').prepare(SCOPE).bindings.items()) == [("t0", CLAIM)]


def test_text_that_only_spells_a_claim_check_is_text() -> None:
    spelled = {"text": f'{{"{KEY}": 1}}', "n": 10**30}
    assert templates.render("{{ it.text }} {{ it }}", {"it": spelled}).startswith(f'{{"{KEY}": 1}} ')
    assert templates.render("{{ it.text | length }}", {"it": spelled}) == len(spelled["text"])


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.just(CLAIM),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_every_claim_check_is_found_and_replaced_and_nothing_else_is_touched(value: Any) -> None:
    found = len(list(claims_in(value)))
    seen: list[Any] = []
    made = replaced(value, lambda claim: seen.append(claim) or 0)
    assert (len(seen), list(claims_in(made))) == (found, [])
    assert (made is value) == (found == 0)
    assert replaced(value, dict) == value
    with suppress(TypeError):  # whole numbers that are no JSON for us
        assert (MARK in orjson.dumps(value)) == (found > 0)
