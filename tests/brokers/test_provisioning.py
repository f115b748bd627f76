"""Topics become what their files say, or the refusal names the command that mends them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import jsonschema_rs
import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from support.broker import Broker

from stream_orchestrator.errors import MissingError
from stream_orchestrator.streaming.client import administering, partitions_of
from stream_orchestrator.streaming.provisioning import Profile, _existing, apply, diff
from stream_orchestrator.streaming.topic_kinds import TopicKind, topic_kinds, topic_spec

KINDS = [
    "audit",
    "calls",
    "calls-answers",
    "calls-table",
    "dlq",
    "inbox",
    "ingest",
    "input",
    "plans",
    "results",
    "state",
    "state-table",
    "table",
]
PRODUCTION = Profile(production=True)


def test_there_is_a_file_for_every_kind_of_topic() -> None:
    assert sorted(topic_kinds()) == KINDS


def test_the_folder_at_the_top_is_the_one_that_the_package_carries() -> None:
    top = Path(__file__).parents[2] / "topics"
    assert sorted(path.stem for path in top.glob("*.yaml")) == KINDS


@pytest.mark.parametrize("kind", topic_kinds().values(), ids=lambda kind: kind.name)
def test_every_kind_keeps_the_family_promises(kind: TopicKind) -> None:
    assert kind.summary
    assert kind.partitions
    assert kind.key
    jsonschema_rs.validator_for(json.dumps(kind.schema))  # raises on a schema that is none
    assert kind.config["max.message.bytes"] == str(16 * 1024 * 1024)
    if kind.config["cleanup.policy"] == "compact":
        assert int(kind.config["segment.ms"]) <= 600_000  # an open segment is never compacted
    elif not kind.public:
        assert kind.config["retention.ms"] == "-1"  # nothing unworked may be deleted by time


async def test_missing_topics_are_told_then_made_then_present(broker: Broker) -> None:
    specs = [topic_spec(kind, broker.topic(kind), partitions=3) for kind in KINDS]
    assert {state.state for state in await diff(broker.settings, specs)} == {"missing"}
    assert {state.state for state in await apply(broker.settings, specs)} == {"created"}
    again = await apply(broker.settings, specs)
    assert [(state.state, state.differences) for state in again] == [("present", ())] * len(specs)
    counts = await partitions_of(broker.settings, [spec.name for spec in specs])
    assert counts == {broker.topic(kind): topic_kinds()[kind].fixed or 3 for kind in KINDS}
    table = again[KINDS.index("table")].as_json()
    assert table["config"]["cleanup.policy"] == "compact"
    assert set(table) == {"name", "partitions", "config", "state"}


async def test_asking_what_is_there_creates_nothing(broker: Broker) -> None:
    spec = topic_spec("inbox", broker.topic("a"), partitions=1)
    for _ in range(2):
        assert [state.state for state in await diff(broker.settings, [spec])] == ["missing"]


@pytest.mark.parametrize(("has", "wants", "command"), [(2, 4, "--alter --partitions 4"), (4, 2, "--delete")])
async def test_a_wrong_partition_count_is_refused_with_the_command_before_anything_is_made(
    broker: Broker, has: int, wants: int, command: str
) -> None:
    await apply(broker.settings, [topic_spec("inbox", broker.topic("a"), partitions=has)])
    specs = [topic_spec("inbox", broker.topic(name), partitions=wants) for name in ("a", "b")]
    with pytest.raises(MissingError, match=f"has {has} partitions and must have {wants}") as caught:
        await apply(broker.settings, specs)
    assert caught.value.exit_code == 3
    assert (
        f"kafka-topics.sh --bootstrap-server {broker.settings.bootstrap} --topic {broker.topic('a')}"
        in caught.value.hint
    )
    assert command in caught.value.hint
    assert [state.state for state in await diff(broker.settings, specs)] == ["wrong_partitions", "missing"]


async def test_a_users_input_topic_may_have_any_number_of_partitions(broker: Broker) -> None:
    await apply(broker.settings, [topic_spec("input", broker.topic("a"), partitions=1)])
    [state] = await apply(broker.settings, [topic_spec("input", broker.topic("a"), partitions=8)])
    assert (state.state, state.partitions) == ("present", 1)


async def test_what_stays_right_with_more_partitions_gets_them_and_never_fewer(kafka: Broker) -> None:
    name = kafka.topic("users.input.table")
    await apply(kafka.settings, [topic_spec("table", name, partitions=2)])
    wider = topic_spec("table", name, partitions=5, grows=True)
    assert (await diff(kafka.settings, [wider]))[0].differences == ("has 2 partitions and gets 5",)
    both = await asyncio.gather(*(apply(kafka.settings, [wider]) for _ in range(2)))
    assert [states[0].partitions for states in both] == [5, 5]
    with pytest.raises(MissingError, match="has 5 partitions and must have 4"):
        await apply(kafka.settings, [topic_spec("table", name, partitions=4, grows=True)])


async def test_two_workers_that_start_at_once_end_with_the_same_topics(broker: Broker) -> None:
    specs = [topic_spec("inbox", broker.topic(f"a{n}"), partitions=2) for n in range(20)]
    await asyncio.gather(*(apply(broker.settings, specs) for _ in range(4)))
    assert {state.state for state in await diff(broker.settings, specs)} == {"present"}


@pytest.mark.kafka
async def test_other_settings_are_reported_and_mended_only_when_asked(kafka: Broker) -> None:
    name = kafka.topic("a")
    await apply(kafka.settings, [topic_spec("calls", name, partitions=1)])
    async with administering(kafka.settings) as admin:  # another one sets a value of its own, that must survive
        own = (await _existing(admin, {name}))[name].own
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {**own, "segment.bytes": "1048576"})])
    table = [topic_spec("table", name, partitions=1)]
    [state] = await apply(kafka.settings, table)
    assert state.state == "different_config"
    assert "cleanup.policy is delete, should be compact" in state.differences
    [state] = await apply(kafka.settings, table, alter=True)
    assert (state.state, state.differences) == ("present", ())
    async with administering(kafka.settings) as admin:
        assert (await _existing(admin, {name}))[name].own["segment.bytes"] == "1048576"


@pytest.mark.kafka
async def test_the_settings_of_a_topic_that_users_share_are_never_touched(kafka: Broker) -> None:
    name = kafka.topic("a")
    await apply(kafka.settings, [topic_spec("dlq", name, partitions=1)])
    [state] = await apply(kafka.settings, [topic_spec("input", name, partitions=1)], alter=True)
    assert state.state == "different_config"
    assert state.config["retention.ms"] == "2592000000"


@pytest.mark.kafka
async def test_production_refuses_one_node_unless_it_is_told_that_this_is_unsafe(kafka: Broker) -> None:
    specs = [topic_spec("input", kafka.topic("a"), partitions=1)]
    with pytest.raises(MissingError, match="needs 3 replicas") as caught:
        await apply(kafka.settings, specs, profile=PRODUCTION)
    assert "--allow-unsafe" in caught.value.hint
    assert [state.state for state in await diff(kafka.settings, specs)] == ["missing"]
    unsafe = Profile(production=True, allow_unsafe=True)
    assert [state.state for state in await apply(kafka.settings, specs, profile=unsafe)] == ["created"]
    with pytest.raises(MissingError, match="has 1 replicas and production needs 3"):
        await apply(kafka.settings, specs, profile=PRODUCTION)


@pytest.mark.kafka
async def test_three_nodes_give_three_replicas_two_in_sync_and_no_unclean_leader(kafka3: Broker) -> None:
    name = kafka3.topic("a")
    await apply(kafka3.settings, [topic_spec("input", name, partitions=2)], profile=PRODUCTION)
    async with administering(kafka3.settings) as admin:
        found = (await _existing(admin, {name}))[name]
    assert (found.partitions, found.replication) == (2, 3)
    assert found.config["min.insync.replicas"] == "2"
    assert found.config["unclean.leader.election.enable"] == "false"
