"""`runs` and `versions` on real topics: where runs are, an end to them, and an end to their version."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stream_orchestrator.plan import names
from stream_orchestrator.streaming import flights
from stream_orchestrator.streaming.client import existing
from stream_orchestrator.streaming.retire import Versions

Site, Serve = Any, Any  # of conftest.py


async def test_a_parked_run_is_listed_and_cancelled_and_its_event_is_a_dead_letter(site: Site, serve: Serve) -> None:
    await serve(site.settings, site.make(delay=3000))
    await site.send(-1, run_id="slow")
    (run,) = await _runs(site, "parked")
    assert (run["run_id"], run["version"], run["task"]) == ("slow", "1.0.0", "look")
    assert 0 < run["age_seconds"] < 120
    said = await site.call("runs", "cancel", "books", "slow", "--json")
    assert (said.code, [each["run_id"] for each in said.json["runs"]]) == (0, ["slow"])
    (result,) = await site.results(1)
    assert (result["run_id"], result["status"], result["error"]["type"]) == ("slow", "failed", "Cancelled")
    (letter,) = (await site.call("dlq", "list", "books", "--reason", "cancelled", "--json")).json["letters"]
    assert letter["run_id"] == "slow"
    again = await site.call("runs", "cancel", "books", "slow", "--json")
    assert (again.code, again.json) == (1, {"runs": []})
    assert "`slow` is not in flight" in again.err


async def test_a_cancel_waits_for_a_worker_and_says_so(site: Site, serve: Serve) -> None:
    plan = site.make(delay=3000)
    worker = await serve(site.settings, plan)
    await site.send(-1, run_id="slow")
    await _runs(site, "parked")
    assert await worker.drain()
    said = await site.call("runs", "cancel", "books", "slow", "--timeout", "0.1")
    assert said.code == 1
    assert "1 of 1 have not ended" in said.err
    await serve(site.settings, plan)
    assert [result["error"]["type"] for result in await site.results(1)] == ["Cancelled"]


async def test_neither_runs_nor_stuck_is_a_usage_error(site: Site) -> None:
    assert (await site.call("runs", "cancel", "books")).code == 2


async def test_only_runs_that_nothing_moves_are_stuck(
    site: Site, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that was acked by hand is one that a fault has taken: its run waits for ever."""
    monkeypatch.setattr(flights, "STUCK_AFTER", 0.0)
    plan = site.make(delay=3000)
    worker = await serve(site.settings, plan)
    await site.send(-1, run_id="parked")
    await _runs(site, "parked")
    assert await worker.drain()
    assert (await site.call("runs", "list", "books", "--stuck", "--json")).json == {"runs": []}
    monkeypatch.setattr(flights, "GRACE", -10_000_000.0)  # as if its time had come and gone
    (run,) = (await site.call("runs", "list", "books", "--stuck", "--json")).json["runs"]
    assert run["run_id"] == "parked"


async def test_a_version_is_drained_and_retired_while_its_worker_goes_on_with_the_next(
    site: Site, serve: Serve
) -> None:
    old, new = site.make("1.0.0", delay=3000), site.make("1.1.0")
    worker = await serve(site.settings, old)
    await site.send(-1, run_id="slow")
    await _runs(site, "parked")
    alone = await site.call("versions", "drain", "books", "1.0.0")
    assert alone.code == 1
    assert "only version" in alone.err
    assert "takes new runs" in (await site.call("versions", "retire", "books", "1.0.0", "--yes")).err
    assert await worker.drain()
    worker = await serve(site.settings, new)  # it serves the old one too: a run is in flight
    listed = (await site.call("versions", "list", "books", "--json")).json["versions"]
    assert [(each["version"], each["hash"], each["in_flight"]) for each in listed] == [
        ("1.0.0", old.hash, 1),
        ("1.1.0", new.hash, 0),
    ]
    assert names.table_topic(site.broker.prefix, old) in listed[0]["topics"]
    refused = await site.call("versions", "retire", "books", "1.0.0", "--yes")
    assert refused.code == 1
    assert "1 run is in flight" in refused.err
    late = await site.call("versions", "drain", "books", "--timeout", "0.1")
    assert (late.code, "1 in flight on 1.0.0 after 0.1 s" in late.err) == (1, True)
    draining = asyncio.create_task(_drain(site))
    await site.call("runs", "cancel", "books", "slow")
    assert await draining == 0
    retired = await site.call("versions", "retire", "books", "1.0.0", "--yes", "--json")
    assert retired.code == 0, retired.err
    (gone,) = retired.json["versions"]
    assert gone["version"] == "1.0.0"
    assert await existing(site.broker.settings, gone["topics"]) == {}
    assert [each["version"] for each in (await site.call("versions", "list", "books", "--json")).json["versions"]] == [
        "1.1.0"
    ]
    await site.send(7, run_id="after")
    assert {result["run_id"]: result["status"] for result in await site.results(2)} == {
        "slow": "failed",
        "after": "succeeded",
    }
    assert worker.health()[0], worker.health()
    assert await worker.drain()


async def test_draining_the_active_version_hands_new_runs_to_the_highest_other(site: Site, serve: Serve) -> None:
    await serve(site.settings, site.make("1.0.0"), site.make("1.1.0"))
    said = await site.call("versions", "drain", "books", "1.1.0", "--json")
    assert (said.code, said.json["versions"][0]["version"]) == (0, "1.1.0")
    assert "new runs begin with 1.0.0" in said.err

    async def answered_by_old() -> bool:
        await site.send(1)
        return any(result["version"] == "1.0.0" for result in await site.results(1))

    async with asyncio.timeout(60):
        while not await answered_by_old():
            await asyncio.sleep(0.1)


async def test_a_version_that_nobody_knows_is_a_usage_error_that_names_those_there_are(
    site: Site, serve: Serve
) -> None:
    await serve(site.settings, site.plan)
    said = await site.call("versions", "retire", "books", "7.0.0", "--yes")
    assert said.code == 2
    assert f"1.0.0 ({site.plan.hash[:8]})" in said.err


async def _drain(site: Site) -> int:
    """By the API: the command's output is another's in this process."""
    versions = Versions(settings=site.broker.settings, prefix=site.broker.prefix, pipeline="books")
    told: list[int] = []
    assert await versions.emptied(await versions.find("1.0.0"), told.append, timeout=60)
    return 0 if told in ([], [1]) else 1


async def _runs(site: Site, status: str) -> list[Any]:
    async with asyncio.timeout(60):
        while True:
            runs: list[Any] = (await site.call("runs", "list", "books", "--json")).json["runs"]
            if runs and {run["status"] for run in runs} == {status}:
                return runs
            await asyncio.sleep(0.1)
