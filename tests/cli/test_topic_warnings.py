"""What `topics diff` and `apply` say of topics that are not as they should be."""

from __future__ import annotations

import pytest

from stream_orchestrator.cli.commands import topics
from stream_orchestrator.streaming.provisioning import TopicState


def weak(name: str, *differences: str) -> TopicState:
    return TopicState(
        name=name, partitions=1, config={}, state="too_weak", differences=differences, mend=f"mend {name}"
    )


def test_topics_that_lack_the_same_are_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    topics._show_states([weak("a", "has 1 replicas"), weak("b", "has 1 replicas"), weak("c", "has 1 replicas")], True)
    said = capsys.readouterr()
    assert said.err.count("warning:") == 1
    assert "3 topics, `a` first: has 1 replicas" in said.err
    assert "hint: mend a\n      and the same for each of the others" in said.err
    assert said.out.count('"name"') == 3, "the document leaves none out"


def test_the_one_that_differs_in_its_own_way_has_a_warning_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    topics._show_states([weak("a", "has 1 replicas"), weak("b", "has 1 replicas", "has 2 partitions")], False)
    said = capsys.readouterr()
    assert "warning: `b` has 2 partitions\n\nhint: mend b\n" in said.err
