from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.plan import graph


@st.composite
def acyclic(draw: st.DrawFn) -> dict[str, frozenset[str]]:
    names = [f"t{number}" for number in range(draw(st.integers(1, 12)))]
    chosen = {
        name: frozenset(draw(st.sets(st.sampled_from(names[:place])))) if place else frozenset()
        for place, name in enumerate(names)
    }
    return {name: chosen[name] for name in draw(st.permutations(names))}


@given(acyclic())
def test_every_task_comes_after_all_it_waits_for(edges):
    order = graph.order(edges)
    assert sorted(order) == sorted(edges)
    assert all(order.index(source) < order.index(name) for name, sources in edges.items() for source in sources)
    assert graph.cycles(edges) == []


def test_tasks_that_do_not_wait_for_each_other_stay_in_the_order_of_the_file():
    assert graph.order({"c": frozenset(), "a": frozenset({"b"}), "b": frozenset(), "d": frozenset()}) == [
        "c",
        "b",
        "a",
        "d",
    ]


@given(acyclic(), st.data())
def test_an_edge_back_makes_a_cycle_that_is_told_along_its_edges(edges, data):
    name = data.draw(st.sampled_from(sorted(edges)))
    first = data.draw(st.sampled_from(sorted(graph.ancestors(edges, name) | {name})))
    looped = {**edges, first: edges[first] | {name}}
    ways = graph.cycles(looped)
    assert len(ways) == 1
    assert ways[0][0] == ways[0][-1]
    assert all(one in looped[other] for one, other in zip(ways[0], ways[0][1:], strict=False))
    with pytest.raises(ValueError, match="wait for each other"):
        graph.order(looped)


def test_each_knot_is_told_once_by_its_shortest_way_round():
    edges = {
        "a": frozenset("c"), "b": frozenset("a"), "c": frozenset("b"),
        "d": frozenset("e"), "e": frozenset("d"),
        "f": frozenset("a"),
    }  # fmt: skip
    assert graph.cycles(edges) == [("a", "b", "c", "a"), ("d", "e", "d")]


def test_all_that_a_task_waits_for_is_found_however_far_away():
    edges = {"a": frozenset(), "b": frozenset("a"), "c": frozenset("b"), "d": frozenset()}
    assert graph.ancestors(edges, "c") == {"a", "b"}
