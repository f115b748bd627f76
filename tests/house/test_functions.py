"""The functions of the shipped pipelines: what they count is what a person would count."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

FOLDER = Path(__file__).parents[2] / "pipelines/production/functions"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"pipelines_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


prose, tickets, logs = load("prose"), load("tickets"), load("logs")


def test_a_title_before_a_name_does_not_end_a_sentence() -> None:
    text = 'Mr. Bennet made no answer. "Do you want to know?" cried Mrs. Bennet. It was so.'
    assert prose.sentences(text) == [
        "Mr. Bennet made no answer.",
        '"Do you want to know?" cried Mrs. Bennet.',
        "It was so.",
    ]


@pytest.mark.parametrize(("word", "count"), [("cat", 1), ("table", 2), ("universally", 5), ("make", 1), ("the", 1)])
def test_syllables_are_counted_as_they_are_spoken(word: str, count: int) -> None:
    assert prose.syllables(word) == count


def test_long_words_in_long_sentences_read_harder() -> None:
    easy = prose.readability("The cat sat. The dog ran. We saw it all.")
    hard = prose.readability(
        "Notwithstanding considerable administrative difficulties, the commission subsequently recommended "
        "comprehensive institutional reorganisation."
    )
    assert easy["ease"] > 90 > 10 > hard["ease"]
    assert easy["grade"] < 3 < 15 < hard["grade"]


def test_quotations_know_who_speaks_and_how_much() -> None:
    found = prose.quotations('"Come here," said Emma. He did. "I am here now," replied Mr. Knightley.')
    assert (found["count"], found["speakers"], found["longest"]) == (2, ["Emma", "Mr. Knightley"], "I am here now,")
    assert found["share"] == round(6 / 13, 3)


def test_a_pair_of_words_that_comes_again_outweighs_its_words() -> None:
    text = "The whale ship sailed. The whale ship sank. A storm came over the whale ship."
    assert prose.keywords(text)[0] == "whale ship"
    assert "whale" not in prose.keywords(text)


@given(st.text(max_size=400))
def test_any_text_can_be_measured(text: str) -> None:
    assert len(prose.sentences(text)) <= max(1, len(prose.words(text)))
    assert prose.vocabulary(text)["distinct"] <= prose.vocabulary(text)["words"]
    assert 0 <= prose.quotations(text)["share"] <= 1
    assert len(prose.keywords(text, 5)) <= 5
    prose.readability(text)
    prose.telling_sentences(text)


def test_of_categories_with_equal_signs_the_more_serious_wins() -> None:
    signals = tickets.ticket_signals("Question", "There was a breach. A question: is my data leaked?")
    assert signals["hits"] == {"security": 2, "question": 2}
    assert tickets.classify_by_rules(signals)["category"] == "security"


def test_an_outage_of_an_enterprise_wakes_somebody_whatever_the_urgency() -> None:
    assert tickets.route_ticket("outage", 3, "enterprise")["escalate"]
    assert not tickets.route_ticket("outage", 3, "free")["escalate"]
    assert tickets.route_ticket("bug", 5, "free")["escalate"]


@given(st.text(max_size=200), st.text(max_size=400))
def test_any_ticket_gets_a_category_an_urgency_and_a_deadline(subject: str, body: str) -> None:
    found = tickets.classify_by_rules(tickets.ticket_signals(subject, body))
    assert found["category"] in tickets.CATEGORIES
    assert 1 <= found["urgency"] <= 5
    assert tickets.route_ticket(found["category"], found["urgency"], "free")["first_answer_hours"] > 0


LOG = """2026-11-02 09:00:01 INFO [http] GET / 200 took 10 ms
2026-11-02 09:00:02 ERROR [orders] order 17 failed: KeyError 'currency'
  File "orders.py", line 88
2026-11-02 09:00:03 ERROR [orders] order 18 failed: KeyError 'price'
2026-11-02 09:01:00 WARN [auth] failed login for 'root' from 198.51.100.7
2026-11-02 09:01:01 WARN [auth] failed login for 'admin' from 198.51.100.7
2026-11-02 09:01:30 WARN [auth] failed login for 'mia' from 192.0.2.1
2026-11-02 09:02:00 INFO [http] GET / 200 took 1.5 s
"""


def test_two_lines_of_one_cause_have_one_signature() -> None:
    (cause,) = logs.error_signatures(logs.parse_lines(LOG))
    assert (cause["signature"], cause["count"], cause["sources"]) == ("order <*> failed: KeyError <*>", 2, ["orders"])
    assert cause["example"].endswith('File "orders.py", line 88')


def test_durations_in_seconds_and_milliseconds_are_one_measure() -> None:
    assert logs.latencies(logs.parse_lines(LOG)) == {"p50": 1500.0, "p95": 1500.0, "p99": 1500.0, "count": 2}
    assert logs.latencies([]) == {}


def test_only_the_persistent_are_intruders() -> None:
    assert logs.knocks(logs.parse_lines(LOG), 2) == [{"address": "198.51.100.7", "refused": 2}]


def test_a_minute_that_stands_out_is_a_peak() -> None:
    quiet = [{"at": f"2026-11-02 09:{m:02}:00", "level": "INFO", "source": "", "message": "fine"} for m in range(30)]
    burst = [{"at": f"2026-11-02 09:15:{s:02}", "level": "ERROR", "source": "", "message": "no"} for s in range(12)]
    assert logs.error_bursts(quiet + burst)["peaks"] == ["2026-11-02 09:15"]
    assert logs.error_bursts(quiet)["peaks"] == []


@given(st.lists(st.from_regex(logs.LINE, fullmatch=True) | st.text(max_size=80), max_size=8))
def test_any_log_can_be_read(lines: list[str]) -> None:
    entries = logs.parse_lines("\n".join(lines))
    assert logs.error_bursts(entries)["errors"] <= len(entries)
    assert sum(cause["count"] for cause in logs.error_signatures(entries, 100)) == logs.error_bursts(entries)["errors"]
    assert logs.span_minutes(entries) >= 0
