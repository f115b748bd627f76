"""Events with files: fetched and scanned once for all, whatever crashes, whatever the scanner says the second time."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import orjson
import pytest
from house import House
from hypothesis import given
from hypothesis import strategies as st
from worlds import plan, task

from stream_orchestrator.kernel.bringing import Brought, refusal
from stream_orchestrator.spec.inputs import InputRules

SCANNED = {"doc": {"type": "file", "validation": {"virus_scan": True}}, "note": {"type": "string", "required": False}}
TEXT = base64.b64encode(b"hello").decode()
HELD = orjson.dumps({"doc": {"name": "a.txt", "content_base64": TEXT}})
REFERRED = orjson.dumps({"doc": {"name": "a.txt", "uri": "a.txt"}})


class Bringer:
    """Says another thing every time: contents in turn, then a virus, and so on."""

    def __init__(self, *answers: Brought) -> None:
        self.answers, self.asked = itertools.cycle(answers), 0

    async def __call__(self, rules: InputRules, payload: bytes) -> Brought:
        self.asked += 1
        return next(self.answers)


def content(text: bytes) -> Brought:
    return Brought(files={"doc": base64.b64encode(text).decode()})


CLEAN, VIRUS = Brought(files={"doc": ""}), refusal("`doc`: the virus scanner found Eicar (virus_scan)")


def made() -> Any:
    return plan(task("a"), inputs=SCANNED)


async def played(bring: Bringer, *values: bytes, crash_at: Any = frozenset(), **headers: Any) -> House:
    house = House(made(), bring=bring)
    for value in values:
        house.send(value, **headers)
    house.effects = await house.play(crash_at)  # type: ignore[attr-defined]
    return house


def statuses(house: House) -> dict[str, set[tuple[str, bytes]]]:
    found: dict[str, set[tuple[str, bytes]]] = {}
    for record, result in zip(house.records, house.results(), strict=True):
        found.setdefault(result["run_id"], set()).add((result["status"], record.value))
    return found


@pytest.mark.parametrize("headers", [{}, {"run_id": "mine"}], ids=["without-id", "with-id"])
@pytest.mark.parametrize(("value", "answer"), [(HELD, CLEAN), (REFERRED, content(b"fetched"))])
async def test_an_event_begins_when_its_files_were_brought(value: bytes, answer: Brought, headers: Any) -> None:
    bring = Bringer(answer)
    (result,) = (await played(bring, value, **headers)).results()
    assert result["status"] == "succeeded"
    assert bring.asked == 1


@pytest.mark.parametrize("headers", [{}, {"run_id": "mine"}], ids=["without-id", "with-id"])
async def test_a_file_that_is_refused_rejects_the_event_with_its_bytes_untouched(headers: Any) -> None:
    house = await played(Bringer(VIRUS), HELD, **headers)
    (result,), (letter,) = house.results(), house.letters
    assert (result["status"], result["error"]["message"]) == ("rejected", VIRUS.refused["message"])  # type: ignore[index]
    assert letter.value == HELD
    assert {name for name, _ in letter.headers} & {"so-files", "so-position"} == set()


async def test_contents_travel_in_values_which_are_sealed_and_never_in_headers() -> None:
    house = await played(Bringer(content(b"fetched")), REFERRED, run_id="mine")
    contents = base64.b64encode(b"fetched")
    records = [record for topic in house.world.topics.values() for record in topic]
    assert any(contents in (record.value or b"") for record in records)
    assert not any(contents in (value or b"") for record in records for _, value in record.headers)


@given(st.binary(max_size=50), st.dictionaries(st.text(), st.text()), st.none() | st.just({"reason": "x"}))
def test_what_was_brought_and_the_event_come_apart_as_they_were(value: bytes, files: Any, refused: Any) -> None:
    brought = Brought(files=files, refused=refused)
    assert Brought.apart(*brought.before(value)) == (brought, value)


async def test_without_anybody_who_brings_nothing_passes() -> None:
    house = House(made())
    house.send(HELD)
    await house.play()
    assert house.results()[0]["status"] == "rejected"


async def test_what_was_brought_keeps_the_rules_or_is_refused() -> None:
    house = await played(Bringer(content(b"%PDF-1.4 not a text")), REFERRED)
    assert "content that its name says" in house.results()[0]["error"]["message"]


async def test_a_copy_is_answered_like_the_first_without_asking_again() -> None:
    bring = Bringer(CLEAN, VIRUS)
    house = House(made(), bring=bring)
    house.send(HELD, run_id="mine")
    await house.play()
    house.send(HELD, run_id="mine")
    await house.play()
    assert [result["status"] for result in house.results()] == ["succeeded", "succeeded"]
    assert len({record.value for record in house.records}) == 1
    assert bring.asked == 1


@pytest.mark.parametrize("answers", [(CLEAN, VIRUS), (VIRUS, CLEAN)], ids=["first-clean", "first-virus"])
@pytest.mark.parametrize("headers", [{}, {"run_id": "mine"}], ids=["without-id", "with-id"])
async def test_wherever_the_process_dies_an_event_has_one_outcome(answers: Any, headers: Any) -> None:
    whole = await played(Bringer(*answers), HELD, HELD, **headers)
    for crash_at in range(1, whole.effects + 1):  # type: ignore[attr-defined]
        found = statuses(await played(Bringer(*answers), HELD, HELD, crash_at={crash_at}, **headers))
        assert found.keys() == statuses(whole).keys(), f"crash before effect {crash_at}"
        assert all(len(each) == 1 for each in found.values()), f"crash before effect {crash_at}: two outcomes"
