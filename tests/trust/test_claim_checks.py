"""Values too large for a record: kept beside, found again, and whatever can go wrong with that."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox_scripts import script

from stream_orchestrator.errors import HouseError, MissingError
from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.plan.claims import KEY, claims_in, is_claim
from stream_orchestrator.trust.blobs import FolderBlobs, blobs_at, hour_of, is_place
from stream_orchestrator.trust.claims import GRACE, LEAST, ClaimChecks, _Split
from stream_orchestrator.trust.pool import ScriptPool

UNTIL = 1_800_000_000.0
THRESHOLD = 10_000
Run = Any


@pytest.fixture
def store(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


@pytest.fixture
async def pool(store: FolderBlobs, tmp_path: Path) -> AsyncIterator[ScriptPool]:
    async with ScriptPool(size=1, scratch=tmp_path, claims=ClaimChecks(store, THRESHOLD)) as pool:
        yield pool


async def given_by(pool: ScriptPool, body: str, **options: Any) -> ScriptDone:
    info = {"until": UNTIL, **options.pop("info", {})}
    return await pool.run(script(body, info=info, **options))


async def claim_of(pool: ScriptPool, body: str = "return 'x' * 20_000") -> Any:
    done = await given_by(pool, body)
    assert is_claim(done.value), done
    return done.value


def files(store: FolderBlobs) -> list[Path]:
    return sorted(path for path in Path(store.uri.removeprefix("file://")).rglob("*") if path.is_file())


# --- a process for its own while values are read ---------------------------------------------------------------------


async def test_who_is_cancelled_at_the_moment_a_process_is_reserved_for_it_gives_it_back(pool: ScriptPool) -> None:
    claim = await claim_of(pool)
    asked = asyncio.create_task(given_by(pool, "return len(text)", names={"text": claim}))
    while pool.statistics().busy == 0:
        await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert (await given_by(pool, "return len(text)", names={"text": claim})).value == 20_000
    assert pool.statistics().started == 2


async def test_who_is_cancelled_just_before_a_process_is_reserved_for_it_costs_nobody_a_run(
    pool: ScriptPool,
) -> None:
    claim = await claim_of(pool)
    neighbour = asyncio.create_task(given_by(pool, "return 7"))
    asked = asyncio.create_task(given_by(pool, "return len(text)", names={"text": claim}))
    await asyncio.sleep(0)  # they wait; the next turn serves them
    asked.cancel()
    assert (await neighbour).value == 7
    assert (await given_by(pool, "return 8")).value == 8
    assert pool.statistics().busy == 0


async def test_who_waits_with_a_claim_check_when_the_pool_closes_hears_so(pool: ScriptPool) -> None:
    claim = await claim_of(pool)
    hanging = asyncio.create_task(given_by(pool, "while True: pass"))
    waiting = asyncio.create_task(given_by(pool, "return len(text)", names={"text": claim}))
    while pool.statistics().busy == 0:
        await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(HouseError, match="closed"):
        await waiting
    await asyncio.gather(hanging, return_exceptions=True)


async def test_so_does_who_reads_its_values_then(pool: ScriptPool, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, reading, go = await claim_of(pool), asyncio.Event(), asyncio.Event()
    followed = pool._claims.followed

    async def slowly(script: RunScript) -> RunScript:
        reading.set()
        await go.wait()
        return await followed(script)

    monkeypatch.setattr(pool._claims, "followed", slowly)
    waiting = asyncio.create_task(given_by(pool, "return len(text)", names={"text": claim}))
    await reading.wait()
    await pool.close()
    go.set()
    with pytest.raises(HouseError, match="closed"):
        await waiting


async def test_a_process_that_dies_while_it_is_reserved_costs_no_run(
    pool: ScriptPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, followed = await claim_of(pool), pool._claims.followed

    async def after_a_death(script: RunScript) -> RunScript:
        (process,) = pool._crew.busy
        os.kill(process._process.pid, signal.SIGKILL)
        while process.usable:
            await asyncio.sleep(0)
        return await followed(script)

    monkeypatch.setattr(pool._claims, "followed", after_a_death)
    assert (await given_by(pool, "return len(text)", names={"text": claim})).value == 20_000


# --- lost, changed, full ---------------------------------------------------------------------------------------------


async def test_a_lost_value_is_a_fault_and_its_script_does_not_run(pool: ScriptPool, store: FolderBlobs) -> None:
    claim = await claim_of(pool)
    files(store)[0].unlink()
    done = await given_by(pool, "print('ran')\nreturn 1", names={"big": claim})
    assert (done.kind, done.error_type, done.reports) == ("error", "ClaimCheckLost", ())
    assert claim[KEY]["uri"] in done.message
    assert "deadline" in done.message
    assert (await given_by(pool, "return 1")).value == 1, "the pool serves on"


@pytest.mark.parametrize("change", [lambda body: b"[" + body[1:], lambda body: body[:-1], lambda body: body + b" "])
async def test_a_changed_value_is_a_fault(pool: ScriptPool, store: FolderBlobs, change: Any) -> None:
    claim = await claim_of(pool)
    (file,) = files(store)
    file.write_bytes(change(file.read_bytes()))
    done = await given_by(pool, "return len(big)", names={"big": claim})
    assert (done.error_type, "has changed" in done.message) == ("ClaimCheckLost", True)


async def test_a_full_disk_is_the_scripts_fault_and_leaves_nothing(
    pool: ScriptPool, store: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        done = await given_by(pool, "print('said')\nreturn 'x' * 20_000")
    assert (done.kind, done.error_type, done.value) == ("error", "BlobStoreFailed", None)
    assert "No space left" in done.message
    assert store.uri in done.message
    assert [report["message"] for report in done.reports] == ["said"]
    assert files(store) == []
    await claim_of(pool)


async def test_after_a_crash_between_store_and_record_the_same_value_is_kept_once(
    pool: ScriptPool, store: FolderBlobs
) -> None:
    first = await claim_of(pool)  # and the worker dies: no record tells of it
    written = [(file, file.stat().st_mtime_ns) for file in files(store)]
    assert await claim_of(pool) == first
    assert [(file, file.stat().st_mtime_ns) for file in files(store)] == written


async def test_a_worker_killed_while_it_writes_leaves_a_part_that_is_no_value_and_goes(store: FolderBlobs) -> None:
    name = "a" * 64
    root = Path(store.uri.removeprefix("file://"))
    part = root / hour_of(UNTIL) / f".{name}.{'b' * 32}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b'"half')
    with pytest.raises(FileNotFoundError):
        store.get(f"{hour_of(UNTIL)}/{name}", 100)
    assert store.sweep(UNTIL + 3600, 10) == 1
    assert not part.parent.exists()


async def test_many_workers_may_keep_the_same_value_at_once(store: FolderBlobs) -> None:
    body = b'"' + b"x" * 200_000 + b'"'
    place = f"{hour_of(UNTIL)}/{sha256(body).hexdigest()}"
    await asyncio.gather(*(asyncio.to_thread(store.put, place, body) for _ in range(16)))
    assert [file.read_bytes() for file in files(store)] == [body]


# --- forged ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        {"uri": "file:///etc/passwd", "sha256": "a" * 64, "bytes": 9},
        {"uri": "{root}/../secret", "sha256": sha256(b'"secret"').hexdigest(), "bytes": 8},
        {"uri": "{root}/2026010100/../../secret", "sha256": sha256(b'"secret"').hexdigest(), "bytes": 8},
        {"uri": "{root}/2026010100/" + "a" * 64, "sha256": "a" * 64, "bytes": 10**12},
        {"uri": "{root}/2026010100/" + "a" * 64, "sha256": "a" * 64, "bytes": -1},
        {"uri": "{root}/2026010100/" + "a" * 64, "sha256": "a" * 64, "bytes": True},
        {"uri": 5, "sha256": "a" * 64, "bytes": 5},
        {"uri": "{root}/2026010100/" + "a" * 64},
        "text",
        None,
    ],
)
async def test_a_claim_check_that_came_with_an_event_leads_nowhere_else(
    pool: ScriptPool, store: FolderBlobs, tmp_path: Path, told: Any
) -> None:
    (tmp_path / "secret").write_bytes(b'"secret"')
    (tmp_path / "blobs" / "2026010100").mkdir(parents=True)
    if isinstance(told, dict) and isinstance(told["uri"], str):
        told = {**told, "uri": told["uri"].replace("{root}", store.uri)}
    done = await given_by(pool, "return value", names={"value": {"deep": [{KEY: told}]}})
    assert (done.kind, done.error_type) == ("error", "ClaimCheckLost")


async def test_a_script_is_given_so_much_and_no_more(pool: ScriptPool, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"a": await claim_of(pool, "return 'x' * 20_000"), "b": await claim_of(pool, "return 'y' * 20_000")}
    assert (await given_by(pool, "return len(a + b)", names=names)).value == 40_000
    monkeypatch.setattr("stream_orchestrator.trust.claims.MAX_GIVEN", 40_000)
    done = await given_by(pool, "return 1", names=names)
    assert (done.kind, done.error_type) == ("error", "ClaimCheckLost")
    assert "40,000 is the most" in done.message


async def test_no_script_can_give_a_claim_check(pool: ScriptPool) -> None:
    claim = await claim_of(pool)
    done = await given_by(pool, f"return {{'mine': [{claim!r}]}}")
    assert (done.kind, done.error_type) == ("error", "InvalidOutput")
    assert KEY in done.message
    assert "reserved" in done.message
    spelled = await given_by(pool, f"return [{str(claim)!r}, {{'{KEY}': 1, 'other': 2}}]")
    assert spelled.kind == "value", "text, and a map with more keys, are nothing of ours"


async def test_without_a_store_a_claim_check_is_a_fault_and_large_outputs_are_what_they_were(tmp_path: Path) -> None:
    claim = {KEY: {"uri": "file:///blobs/2026010100/" + "a" * 64, "sha256": "a" * 64, "bytes": 9}}
    async with ScriptPool(size=1, scratch=tmp_path) as pool:
        lost = await pool.run(script("return big", names={"big": claim}))
        assert (lost.error_type, "set `blobs.url`" in lost.message) == ("ClaimCheckLost", True)
        done = await pool.run(script("return 'x' * 17_000_000"))
        assert (done.error_type, "`blobs.url`" in done.message) == ("TooLarge", True)
        assert (await pool.run(script("return 'x' * 1_000_000"))).value == "x" * 1_000_000


# --- what is kept, and what comes back -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [THRESHOLD - 1, THRESHOLD, THRESHOLD + 1])
async def test_a_value_is_kept_outside_from_one_byte_above_the_threshold(
    pool: ScriptPool, store: FolderBlobs, size: int
) -> None:
    done = await given_by(pool, f"return 'x' * {size - 2}")  # and its quotes
    assert is_claim(done.value) == (size > THRESHOLD)
    for claim in claims_in(done.value):
        (file,) = files(store)
        body = file.read_bytes()
        assert claim[KEY] == {"uri": file.as_uri(), "sha256": sha256(body).hexdigest(), "bytes": size}
        assert orjson.loads(body) == "x" * (size - 2)


async def test_a_script_sees_values_wherever_claim_checks_were(pool: ScriptPool) -> None:
    text, rows = await claim_of(pool), await claim_of(pool, "return [[n, str(n)] for n in range(3000)]")
    done = await given_by(
        pool,
        """
        inner = context.get_task_output("other")["parts"]
        return [len(text), rows[7], len(inner[0]), inner[1][2999], len(__b__["v0"]),
                context.get_variable("big")[1],
                len(__b__["t1"]), __b__["t2"][:24], __b__["t3"]]
        """,
        names={"text": text, "rows": rows},
        bindings={"v0": text, "t1": text, "t2": [1, rows], "t3": "as it is"},
        info={"outputs": {"other": {"parts": [text, rows]}}, "variables": {"big": rows}},
    )
    assert done.value == [
        20_000,
        [7, "7"],
        20_000,
        [2999, "2999"],
        20_000,
        [1, "1"],
        20_000,
        '[1, [[0, "0"], [1, "1"],',
        "as it is",
    ], done


async def test_of_a_map_only_the_large_parts_are_kept_outside(pool: ScriptPool) -> None:
    done = await given_by(pool, "return {'n': 1, 'rows': 'x' * 20_000, 'in': {'m': 2, 'y': 'y' * 300}}")
    assert done.value["n"] == 1
    assert done.value["in"]["m"] == 2
    assert is_claim(done.value["rows"])
    done = await given_by(pool, "return {'data': {'status': 'ok', 'rows': 'x' * 20_000}}")
    assert done.value["data"]["status"] == "ok"
    assert is_claim(done.value["data"]["rows"])
    done = await given_by(pool, "return ['x' * 8_000, 'y' * 9_000]")
    assert done.value[0] == "x" * 8_000
    assert is_claim(done.value[1])


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.sampled_from(["x" * 3000, "y" * 5000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=15,
)


@given(plain_values, st.integers(LEAST, 3 * LEAST))
def test_what_is_kept_fits_and_put_together_again_is_the_value(value: Any, room: int) -> None:
    split = _Split("file:///blobs/2026010100/")
    made = split.fitting(value, room)
    assert len(orjson.dumps(made)) <= room
    again = _together(made, split.bodies)
    assert again == value
    assert (made == value) == (len(orjson.dumps(value)) <= room)
    assert all(sha256(body).hexdigest() == name for name, body in split.bodies.items())


def _together(value: Any, bodies: dict[str, bytes]) -> Any:
    if is_claim(value):
        return orjson.loads(bodies[value[KEY]["sha256"]])
    if isinstance(value, dict):
        return {key: _together(item, bodies) for key, item in value.items()}
    return [_together(item, bodies) for item in value] if isinstance(value, list) else value


# --- when they go ----------------------------------------------------------------------------------------------------


async def test_a_value_is_there_until_its_last_deadline_and_an_hour_and_goes_in_the_next(
    pool: ScriptPool, store: FolderBlobs
) -> None:
    claim = await claim_of(pool)
    assert store.sweep(UNTIL + GRACE, 100) == 0
    assert (await given_by(pool, "return len(big)", names={"big": claim})).value == 20_000
    assert store.sweep(UNTIL + GRACE + 3600, 100) == 1
    assert files(store) == []
    assert (await given_by(pool, "return len(big)", names={"big": claim})).error_type == "ClaimCheckLost"


def test_a_sweep_is_bounded_and_leaves_what_is_not_ours(store: FolderBlobs) -> None:
    root = Path(store.uri.removeprefix("file://"))
    assert store.sweep(UNTIL, 10) == 0, "there is no folder yet"
    for n in range(25):
        body = orjson.dumps(n)
        store.put(f"{hour_of(UNTIL - 7200 * (1 + n % 3))}/{sha256(body).hexdigest()}", body)
    store.put(f"{hour_of(UNTIL)}/{'c' * 64}", b"1")
    (root / "notes").mkdir()
    (root / "notes" / ("d" * 64)).write_text("mine")
    (root / hour_of(UNTIL - 7200) / "readme").write_text("mine")
    assert [store.sweep(UNTIL, 10) for _ in range(4)] == [10, 10, 5, 0]
    left = {str(file.relative_to(root)) for file in files(store)}
    assert left == {f"{hour_of(UNTIL)}/{'c' * 64}", f"notes/{'d' * 64}", f"{hour_of(UNTIL - 7200)}/readme"}


def test_an_address_of_a_store_that_is_none_is_refused_at_once(tmp_path: Path) -> None:
    assert blobs_at(str(tmp_path)).uri == tmp_path.as_uri()
    assert blobs_at((tmp_path / "a b").as_uri()).uri == (tmp_path / "a b").as_uri()
    for url in ("s3:///prefix", "https://example.com/x", "file://elsewhere/x"):
        with pytest.raises(MissingError):
            blobs_at(url)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MissingError, match="cannot be kept"):
        blobs_at(str(tmp_path / "file" / "blobs")).check()
    blobs_at(str(tmp_path / "new" / "blobs")).check()
    assert list((tmp_path / "new" / "blobs").iterdir()) == []
    assert not is_place("2026010100/../" + "a" * 61)
