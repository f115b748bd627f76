"""Ingest: who an event is, what becomes of copies, of the broken, the hostile, and new versions; under crashes too."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from house import House
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import StormyWorld, plan, task

from stream_orchestrator.kernel import ids
from stream_orchestrator.kernel.events import decode
from stream_orchestrator.kernel.ingest_rows import Codec, KnownId, Switches
from stream_orchestrator.kernel.limits import MAX_RECORD
from stream_orchestrator.kernel.memory import MemoryPart, World
from stream_orchestrator.plan.model import Plan

pytestmark = pytest.mark.timeout(600)  # many plays: minutes on a machine that is busy with other things

GOOD = b'{"n": 1}'
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER_TRACE = "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"


def simple() -> Plan:
    return plan(task("a"), inputs={"n": {"type": "integer"}})


def asking() -> Plan:
    return plan(task("a"), task("b", "a", does="call"), task("c", "a"), task("d", "b", "c"))


def newer() -> Plan:
    return replace(plan(task("b")), version="2.0.0")


async def one(value: bytes | None, *, made: Plan | None = None, key: bytes | None = None, **headers: Any) -> House:
    house = House(made or simple())
    house.send(value, key=key, **headers)
    await house.play()
    assert len(house.records) == 1
    return house


# --- who an event is


async def test_without_an_id_a_run_is_named_after_its_position() -> None:
    (result,) = (await one(GOOD)).results()
    assert result["run_id"] == ids.run_id_of(None, None, "made.input/0/0")


async def test_a_run_id_header_names_the_run() -> None:
    house = await one(GOOD, run_id="order-1")
    assert house.results()[0]["run_id"] == "order-1"
    assert dict(house.records[0].headers)["run-id"] == b"order-1"


@pytest.mark.parametrize("run_id", ["x" * 512, "Ünïcode ✓", " spaced out ", "/slashes/1"])
async def test_any_printable_text_up_to_512_characters_is_an_id(run_id: str) -> None:
    assert (await one(GOOD, run_id=run_id)).results()[0]["run_id"] == run_id


@pytest.mark.parametrize("run_id", ["a#b", "a~b", "x" * 513, "new\nline", b"\xff\xfe", "x#2", "x#7", "x#2\n"])
async def test_an_id_that_no_run_can_have_is_a_rejection_with_its_own_bytes_and_headers(run_id: str | bytes) -> None:
    house = await one(GOOD, run_id=run_id, key=b"\x00\xff", custom=b"\xfe")
    (result,), (letter,) = house.results(), house.letters
    assert (result["status"], result["error"]["type"]) == ("rejected", "InvalidInput")
    assert result["run_id"] == ids.run_id_of(None, None, "made.input/0/0")
    assert (letter.key, letter.value) == (b"\x00\xff", GOOD)
    original = run_id if isinstance(run_id, bytes) else run_id.encode()
    assert {("run-id", original), ("custom", b"\xfe")} <= set(letter.headers)
    assert dict(letter.headers)["run-id"] == result["run_id"].encode()
    assert dict(letter.headers)["dlq-reason"] == b"invalid_input"


async def test_a_binary_cloudevent_is_named_after_its_source_and_id() -> None:
    (result,) = (await one(GOOD, ce_source="/shop", ce_id="7", ce_traceparent=TRACE)).results()
    assert result["run_id"] == ids.run_id_of(None, ("/shop", "7"), "")
    assert result["trace_id"] == TRACE.split("-")[1]


def structured(**fields: Any) -> bytes:
    return orjson.dumps({"specversion": "1.0", "source": "/shop", "id": "7", "type": "t", **fields})


async def test_a_structured_cloudevent_gives_its_data_and_its_trace() -> None:
    house = await one(
        structured(data={"n": 5}, traceparent=TRACE), made=plan(task("a"), has_output=True, output="{{ n }}")
    )
    (result,) = house.results()
    assert (result["output"], result["trace_id"]) == (5, TRACE.split("-")[1])
    assert result["run_id"] == ids.run_id_of(None, ("/shop", "7"), "")


async def test_a_structured_cloudevent_may_hold_its_data_in_base64() -> None:
    value = structured(data_base64=base64.b64encode(b'{"n": 6}').decode())
    house = await one(value, made=plan(task("a"), has_output=True, output="{{ n }}"))
    assert house.results()[0]["output"] == 6


@pytest.mark.parametrize(
    "value",
    [
        structured(),
        structured(data=5),
        structured(data_base64="!!"),
        structured().replace(b'"type":"t"', b'"data":{"n":%s}' % (b"9" * 30)),
        structured().replace(b'"type":"t"', b'"data":' + b"[" * 300 + b"]" * 300),
        structured().replace(b'"type":"t"', b'"data":{"n":' + b"[" * 900 + b"]" * 900 + b"}"),
    ],
    ids=["no data", "a number", "bad base64", "beyond 64 bits", "deep", "deeper"],
)
async def test_a_structured_cloudevent_that_is_no_run_keeps_its_bytes_as_a_dead_letter(value: bytes) -> None:
    house = await one(value)
    assert house.results()[0]["status"] == "rejected"
    assert house.letters[0].value == value


async def test_the_dead_letter_of_a_failed_cloudevent_keeps_its_bytes() -> None:
    value = structured(data={"n": 1})
    house = await one(value, made=plan(task("a", does="broken")))
    assert (house.results()[0]["status"], house.letters[0].value) == ("failed", value)


# --- the broken and the hostile


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, b"not_json"),
        (b"", b"not_json"),
        (b"\xff\xfe", b"not_json"),
        (b"{", b"not_json"),
        (b"[1]", b"invalid_input"),
        (b'{"n": "x"}', b"invalid_input"),
        (b"{}", b"invalid_input"),
        (b'{"n": ' + b"9" * 40 + b"}", b"invalid_input"),
    ],
)
@pytest.mark.parametrize("key", [None, b"", b"\x00\xff"])
@pytest.mark.parametrize("run_id", [None, "named"])
async def test_a_broken_record_is_a_rejection_and_a_dead_letter_with_its_bytes_untouched(
    value: bytes | None, reason: bytes, key: bytes | None, run_id: str | None
) -> None:
    headers: dict[str, Any] = {"run_id": run_id} if run_id else {}
    house = await one(value, key=key, other=b"\xff\x00", **headers)
    (result,), (letter,) = house.results(), house.letters
    told = dict(letter.headers)
    assert (letter.key, letter.value, told["other"]) == (key, value, b"\xff\x00")
    assert (told["dlq-reason"], told["dlq-task"], told["dlq-attempts"]) == (reason, b"", b"0")
    assert (told["dlq-topic"], told["dlq-partition"], told["dlq-offset"]) == (b"made.input", b"0", b"0")
    assert (result["status"], result["output"], result["outputs"]) == ("rejected", None, {})
    assert house.records[0].key == key


async def test_a_record_too_large_is_rejected_and_referred_to() -> None:
    value = b'{"n": "' + b"x" * MAX_RECORD + b'"}'
    for headers in ({}, {"run_id": "big"}):
        house = await one(value, **headers)
        (letter,) = house.letters
        reference = orjson.loads(letter.value)["reference"]
        assert dict(letter.headers)["dlq-reason"] == b"too_large"
        assert reference == {
            "topic": "made.input",
            "partition": 0,
            "offset": 0,
            "bytes": len(value),
            "sha256": ids.sha256(value),
        }


async def test_a_record_that_only_our_own_form_makes_too_large_is_rejected_with_its_bytes() -> None:
    value = b'{"n": "' + b'\\"' * (MAX_RECORD // 3) + b'"}'  # every byte of it is escaped once more
    house = await one(value, made=plan(task("a")))
    (letter,) = house.letters
    assert (dict(letter.headers)["dlq-reason"], letter.value == value) == (b"too_large", True)


async def test_headers_too_large_to_be_carried_do_not_stop_a_rejection() -> None:
    house = await one(b"{", heavy=b"x" * (MAX_RECORD + 1))
    assert "heavy" not in dict(house.records[0].headers)
    assert dict(house.letters[0].headers)["dlq-reason"] == b"too_large"


@pytest.mark.parametrize("stamp", [b"abc", b"", b"9" * 30, b"\xff"])
async def test_headers_that_look_like_ours_change_nothing(stamp: bytes) -> None:
    house = House(simple())
    forged = (("run-id", b"r"), ("so-position", b"nowhere"), ("so-timestamp", stamp))
    house.world.append("made.input", None, b"{", forged)
    house.world.append("made.ingest", None, b"{", forged)
    await house.play()
    told = dict(house.letters[0].headers)
    assert told["dlq-topic"] in {b"made.ingest", b"made.input"}
    assert set(forged) <= set(house.letters[0].headers) | set(house.letters[1].headers)


async def test_a_null_header_is_an_empty_one() -> None:
    house = House(simple())
    house.world.append("made.input", None, GOOD, (("empty", None),))  # type: ignore[arg-type]
    await house.play()
    assert dict(house.records[0].headers)["empty"] == b""


@pytest.mark.parametrize("stamp", [-1, -(10**17), 10**17])
async def test_a_producer_s_odd_clock_stops_nothing(stamp: int) -> None:
    house = House(simple())
    record = house.send(b"{")
    object.__setattr__(record, "timestamp_ms", stamp)
    await house.play()
    assert house.results()[0]["status"] == "rejected"


# --- copies


async def test_a_copy_of_an_ended_run_is_answered_with_the_same_bytes() -> None:
    house = House(asking())
    house.send(GOOD, run_id="r")
    await house.play()
    house.send(GOOD, run_id="r", traceparent=OTHER_TRACE)
    await house.play()
    first, second = house.records
    assert first.value == second.value
    assert sum(house.service.made.values()) == 1


async def test_copies_of_a_run_in_flight_are_dropped() -> None:
    house = House(asking())
    for _ in range(3):
        house.send(GOOD, run_id="r")
    await house.play()
    assert len({record.value for record in house.records}) == 1
    assert house.scripts.ran["a"] == 1


async def test_copies_of_a_run_come_to_its_home_whatever_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(simple())
    version = replace(house.versions.known["v0"], partitions=64)
    house.versions.known["v0"] = version
    homes, publish = [], MemoryPart.publish

    def noted(part: MemoryPart, topic: str, *, partition: int | None, **rest: Any) -> Any:
        homes.extend([partition] if topic == version.start_inbox else [])
        return publish(part, topic, partition=partition, **rest)

    monkeypatch.setattr(MemoryPart, "publish", noted)
    for key in (b"first", b"second", None, b"third"):
        house.send(GOOD, run_id="r", key=key)
        await house.play()
    assert homes == [ids.partition_of(b"first", 64)] * 4
    assert house.scripts.ran["a"] == 1
    assert len({record.value for record in house.records}) == 1


@pytest.mark.parametrize("value", [b"{", b'{"n": "x"}'])
async def test_copies_of_a_rejected_event_get_the_same_bytes_whatever_their_trace_and_place(value: bytes) -> None:
    house = House(simple())
    house.send(value, run_id="r", traceparent=TRACE)
    await house.play()
    house.clock.jump(house.clock() + 100)
    house.send(value, run_id="r", traceparent=OTHER_TRACE)
    house.send(value, run_id="r")
    await house.play()
    assert len(house.records) == 3
    assert len({record.value for record in house.records}) == 1
    assert house.results()[0]["trace_id"] == TRACE.split("-")[1]


async def test_another_payload_under_the_same_id_is_a_conflict_and_its_copies_get_the_same_bytes() -> None:
    house = House(simple(), simple())
    house.send(GOOD, run_id="r")
    await house.play()
    for trace in (TRACE, OTHER_TRACE):
        house.clock.jump(house.clock() + 100)
        house.send(b'{"n": 2}', run_id="r", traceparent=trace)
        await house.play()
        house.versions.now = "v1"
    first, *conflicts = house.records
    assert len({record.value for record in conflicts}) == 1
    result = orjson.loads(conflicts[0].value)
    assert result["run_id"] == "r~" + ids.sha256(b'{"n": 2}')[:8]
    assert (result["status"], result["conflicts_with"]) == ("rejected", "r")
    assert orjson.loads(first.value)["status"] == "succeeded"
    assert {dict(letter.headers)["dlq-reason"] for letter in house.letters} == {b"run_id_conflict"}
    assert {("run-id", b"r"), ("run-id", result["run_id"].encode())} <= set(house.letters[0].headers)


async def test_an_id_is_forgotten_at_its_horizon_and_the_tables_are_empty() -> None:
    house = House(simple())
    for number in range(3):
        house.send(GOOD, run_id=f"r{number}")
    house.send(GOOD)
    await house.play()
    house.clock.jump(house.clock() + 8 * 86_400)
    await house.world.run()
    assert [len(part.rows) for part in (*house.parts, house.inner)] == [0, 0]
    assert [len(part.durable) for part in (*house.parts, house.inner)] == [0, 0]
    house.send(GOOD, run_id="r0")
    await house.play()
    assert [result["run_id"] for result in house.results()].count("r0") == 2


@pytest.mark.parametrize("root", ["r", "r~0123abcd"])
@pytest.mark.parametrize("n", [2, 6])
async def test_a_redrive_is_a_run_of_its_own_that_says_of_what(root: str, n: int) -> None:
    (result,) = (await one(GOOD, run_id=f"{root}#{n}", redrive_of=root)).results()
    assert (result["run_id"], result["attempt"], result["retry_of"]) == (f"{root}#{n}", n, root)
    assert result["status"] == "succeeded"


@pytest.mark.parametrize(
    ("run_id", "root"), [("r#7", "r"), ("r#1", "r"), ("r#2", "q"), ("r#2#3", "r#2"), ("r#2\n", "r")]
)
async def test_a_redrive_that_nobody_may_start_is_rejected(run_id: str, root: str) -> None:
    assert (await one(GOOD, run_id=run_id, redrive_of=root)).results()[0]["status"] == "rejected"


# --- versions


async def test_a_run_stays_with_the_version_it_began_with_and_new_ones_take_the_new() -> None:
    house = House(simple(), newer())
    house.send(GOOD, run_id="old")
    await house.play()
    house.versions.now = "v1"
    house.send(GOOD, run_id="new")
    house.send(GOOD, run_id="old")
    house.send(GOOD)
    await house.play()
    by_run = {result["run_id"]: result["version"] for result in house.results()}
    assert by_run.pop("old") == "1.0.0"
    assert set(by_run.values()) == {"2.0.0"}


async def test_a_copy_whose_version_is_gone_is_told_so() -> None:
    house = House(simple(), simple())
    house.send(b"{", run_id="r")
    await house.play()
    house.versions.now = "v1"
    del house.versions.known["v0"]
    house.send(b"{", run_id="r")
    await house.play()
    assert dict(house.letters[-1].headers)["dlq-reason"] == b"unknown_version"


@pytest.mark.parametrize("named", [False, True])
async def test_a_record_read_twice_begins_with_the_same_version_wherever_the_process_dies(named: bool) -> None:
    async def scenario(crash_at: frozenset[int]) -> tuple[House, int]:
        def deploy(topic: str) -> None:
            if topic.endswith(".start"):
                house.versions.now = "v1"  # as soon as a run has begun, another version is deployed

        house = House(simple(), newer(), world=ForgetfulWorld(deploy))
        for number in range(4):
            house.send(GOOD, **({"run_id": f"r{number}"} if named else {}))
        return house, await house.play(crash_at)

    _, effects = await scenario(frozenset())
    for crashes in [
        *itertools.combinations(range(1, effects + 1), 1),
        *itertools.combinations(range(1, effects + 1, 3), 2),
    ]:
        house, _ = await scenario(frozenset(crashes))
        by_run: dict[str, set[str]] = {}
        for result in house.results():
            by_run.setdefault(result["run_id"], set()).add(result["version"])
        assert len(by_run) == 4, f"crashes at {crashes}"
        assert all(len(versions) == 1 for versions in by_run.values()), f"crashes at {crashes}: {by_run}"


@given(seed=st.integers(0, 2**32), crashes=st.frozensets(st.integers(5, 70), min_size=2, max_size=6))
@settings(max_examples=400)
def test_a_record_begins_with_one_version_however_effects_land(seed: int, crashes: frozenset[int]) -> None:
    class Deploying(StormyWorld):
        def append(self, topic: str, *rest: Any) -> Any:
            if topic.endswith(".start"):
                house.versions.now = "v1"
            return super().append(topic, *rest)

    house = House(simple(), newer(), world=Deploying(seed, crashes))
    for number in range(4):
        house.send(GOOD, **({"run_id": f"r{number}"} if number % 2 else {}))
    asyncio.run(played(house))
    begun: dict[str, set[str]] = {}
    for topic in ("made.v0.start", "made.v1.start"):
        for record in house.world.topics[topic]:
            begun.setdefault(decode(record.value).run_id, set()).add(topic)
    assert len(begun) == 4
    assert all(len(topics) == 1 for topics in begun.values()), begun
    assert {result["status"] for result in house.results()} == {"succeeded"}


async def played(house: House) -> None:
    await house.play()


class ForgetfulWorld(World):
    """After a crash every record of the input comes again. `told` hears of every record that lands."""

    def __init__(self, told: Callable[[str], None]) -> None:
        super().__init__()
        self.told = told

    def append(self, topic: str, *rest: Any) -> Any:
        record = super().append(topic, *rest)
        self.told(topic)
        return record

    async def crash(self) -> None:
        self._acked["made.input"] = self._acked["made.ingest"] = 0
        await super().crash()


# --- crashes of the whole way


def mixed(house: House) -> None:
    house.send(GOOD, run_id="named")
    house.send(GOOD, key=b"k")
    house.send(b"{", run_id="broken")
    house.send(b"{")
    house.send(GOOD, run_id="named")
    house.send(b'{"n": 2}', run_id="named", traceparent=TRACE)


@pytest.mark.parametrize("make", [asking, simple], ids=lambda make: make.__name__)
async def test_every_event_has_its_one_answer_wherever_the_process_dies(make: Any) -> None:
    house = House(make())
    mixed(house)
    effects = await house.play()
    expected = {result["run_id"]: result["status"] for result in house.results()}
    assert sorted(expected.values()) == ["rejected", "rejected", "rejected", "succeeded", "succeeded"]
    for crash_at in range(1, effects + 1):
        house = House(make())
        mixed(house)
        await house.play({crash_at})
        sound(house, expected, f"crash before effect {crash_at} of {effects}", repeated=1)


@given(seed=st.integers(0, 2**32), crashes=st.frozensets(st.integers(1, 300), max_size=5))
@settings(max_examples=80)
def test_every_event_has_its_one_answer_however_effects_land(seed: int, crashes: frozenset[int]) -> None:
    async def scenario() -> House:
        house = House(asking(), world=StormyWorld(seed, crashes))
        mixed(house)
        await house.play()
        return house

    house = asyncio.run(scenario())
    names = {result["run_id"]: result["status"] for result in house.results()}
    assert sorted(names.values()) == ["rejected", "rejected", "rejected", "succeeded", "succeeded"]
    sound(house, names, f"seed {seed}", repeated=2 * len(crashes))  # two runs, each with a call that a crash may cut


def sound(house: House, expected: dict[str, str], where: str, *, repeated: int) -> None:
    copies: dict[str, set[bytes]] = {}
    for record, result in zip(house.records, house.results(), strict=True):
        copies.setdefault(result["run_id"], set()).add(record.value)
    assert {result["run_id"]: result["status"] for result in house.results()} == expected, where
    assert all(len(each) == 1 for each in copies.values()), f"{where}: copies differ"
    assert {letter.value for letter in house.letters} == {b"{", b'{"n": 2}'}, where
    made = house.service.made
    assert sum(made.values()) - len(made) <= repeated, f"{where}: a call was made again without a crash in it"
    assert all(not getattr(row, "state", "") for part in house.parts for row in part.rows.values()), where


# --- rows


@given(
    row=st.one_of(
        st.builds(
            KnownId,
            payload=st.text(),
            version=st.text(),
            position=st.text(),
            stamp=st.integers(-(2**53), 2**53),
            expires=st.floats(allow_nan=False, allow_infinity=False),
            traceparent=st.none() | st.text(),
            home=st.none() | st.integers(0, 2**31),
        ),
        st.builds(Switches, st.lists(st.tuples(st.integers(0, 2**53), st.text()), min_size=1).map(tuple)),
    )
)
def test_ingest_rows_survive_their_bytes(row: KnownId | Switches) -> None:
    assert Codec.decode(Codec.encode(row)) == row
