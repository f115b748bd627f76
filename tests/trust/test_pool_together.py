"""Scripts that travel several to a message: each runs once, in one place, whatever happens to those before it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sandbox_scripts import script

from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.kernel.notebook import Notebook
from stream_orchestrator.trust.pool import ScriptPool
from stream_orchestrator.trust.process import Hello, Job, SandboxProcess, Why

HELLO = Hello(functions=(), host_functions=(), fingerprint_key=b"", max_runs=10)

DOES = """
began(n)
if does == "hang":
    while True: pass
if does == "sleep":
    import time; time.sleep(0.06)
if does == "leave":
    import os; os._exit(3)
if does == "fail":
    1 / 0
if does == "thread":
    import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
return n
"""


def doing(n: int, does: str = "", *, timeout: float = 30, rank: float = 0) -> RunScript:
    """One script, so that what it does is not known from its text. It tells when it begins."""
    return script(DOES, names={"n": n, "does": does}, timeout=timeout, rank=rank)


class Begun(Counter[int]):
    """How often each script began."""

    def __call__(self, n: int) -> None:
        self[n] += 1


@pytest.fixture
def begun() -> Begun:
    return Begun()


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many scripts each message had, on a machine on which nothing is ever late."""
    monkeypatch.setattr("stream_orchestrator.trust.process.SOON", 60.0)
    monkeypatch.setattr("stream_orchestrator.trust.crew._QUICK", 60.0)
    sizes: list[int] = []
    give: Callable[[SandboxProcess, Sequence[Job]], None] = SandboxProcess.give

    def counted(self: SandboxProcess, jobs: Sequence[Job]) -> None:
        sizes.append(len(jobs))
        give(self, jobs)

    monkeypatch.setattr(SandboxProcess, "give", counted)
    return sizes


async def pool_of(size: int, tmp_path: Path, begun: Begun, **options: Any) -> ScriptPool:
    """Warm: the script is known to be quick."""
    pool = ScriptPool(size=size, scratch=tmp_path, host_functions={"began": begun}, **options)
    await pool.start()
    await pool.run(doing(-1))
    await pool.run(doing(-1))
    begun.clear()
    return pool


async def test_quick_scripts_travel_together(tmp_path: Path, begun: Begun, messages: list[int]) -> None:
    pool = await pool_of(1, tmp_path, begun)
    messages.clear()
    done = await asyncio.gather(*(pool.run(doing(n)) for n in range(64)))
    await pool.close()
    assert [one.value for one in done] == list(range(64))
    assert sum(messages) == 64
    assert messages[0] == 16
    assert len(messages) <= 1 + 48 / 12, "it gets more when four are left: twelve or more"


async def test_a_script_nobody_knows_yet_travels_alone(tmp_path: Path, messages: list[int]) -> None:
    async with ScriptPool(size=1, scratch=tmp_path) as pool:
        await asyncio.gather(*(pool.run(script(f"return {n}")) for n in range(10)))
    assert messages == [1] * 10


async def test_so_does_a_slow_one_and_a_large_one(
    tmp_path: Path, messages: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_orchestrator.trust.crew._QUICK", 0.005)
    large = script("return len(text)", names={"text": "x" * 70_000})
    slow = script("import time; time.sleep(0.006)")
    async with ScriptPool(size=1, scratch=tmp_path) as pool:
        for one in (large, slow):
            await pool.run(one)
        messages.clear()
        await asyncio.gather(*(pool.run(one) for one in (large, slow) * 5))
    assert messages == [1] * 10


async def test_while_processes_are_free_each_script_has_its_own(
    tmp_path: Path, begun: Begun, messages: list[int]
) -> None:
    pool = await pool_of(3, tmp_path, begun)
    messages.clear()
    await asyncio.gather(*(pool.run(doing(n)) for n in range(3)))
    await pool.close()
    assert messages == [1] * 3


async def test_those_behind_a_script_that_hangs_run_elsewhere_and_once(tmp_path: Path, begun: Begun) -> None:
    pool = await pool_of(2, tmp_path, begun)
    hanging = asyncio.create_task(pool.run(doing(0, "hang")))
    done = await asyncio.gather(*(pool.run(doing(n)) for n in range(1, 60)))
    assert [one.value for one in done] == list(range(1, 60))
    assert not hanging.done()
    assert begun == Counter(range(60))
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    await pool.close()


async def test_those_behind_it_wait_for_its_deadline_when_no_process_is_free(tmp_path: Path, begun: Begun) -> None:
    pool = await pool_of(1, tmp_path, begun)
    first, *others = await asyncio.gather(
        pool.run(doing(0, "hang", timeout=0.3)), *(pool.run(doing(n)) for n in range(1, 20))
    )
    await pool.close()
    assert first.kind == "timeout"
    assert [one.value for one in others] == list(range(1, 20))
    assert begun == Counter(range(20))


async def test_those_behind_a_script_that_leaves_run_elsewhere_and_once(tmp_path: Path, begun: Begun) -> None:
    pool = await pool_of(1, tmp_path, begun)
    done = await asyncio.gather(*(pool.run(doing(n, "leave" if n % 5 == 2 else "")) for n in range(30)))
    await pool.close()
    for n, one in enumerate(done):
        assert (one.kind, one.value) == (("killed", None) if n % 5 == 2 else ("value", n))
    assert begun == Counter(range(30))


async def test_those_behind_one_that_spoils_its_process_run_elsewhere_and_once(tmp_path: Path, begun: Begun) -> None:
    pool = await pool_of(1, tmp_path, begun)
    done = await asyncio.gather(*(pool.run(doing(n, "thread" if n == 3 else "")) for n in range(20)))
    while pool.statistics().recycled == 0:
        await asyncio.sleep(0.01)
    await pool.close()
    assert [one.value for one in done] == list(range(20))
    assert begun == Counter(range(20))


async def test_a_process_takes_no_more_than_its_share_of_runs(tmp_path: Path, begun: Begun) -> None:
    pool = ScriptPool(size=2, scratch=tmp_path, host_functions={"began": begun}, max_runs=5)
    await pool.start()
    done = await asyncio.gather(*(pool.run(script("import os; return os.getpid()")) for _ in range(60)))
    await pool.close()
    assert {one.kind for one in done} == {"value"}, "who lies behind the last of a process is not to blame for its end"
    assert set(Counter(one.value for one in done).values()) <= {1, 2, 3, 4, 5}


async def test_who_is_cancelled_before_its_turn_does_not_run_and_costs_no_process(tmp_path: Path, begun: Begun) -> None:
    pool = await pool_of(1, tmp_path, begun)
    asked = [asyncio.create_task(pool.run(doing(n, "sleep" if n == 0 else ""))) for n in range(8)]
    while not begun[0]:
        await asyncio.sleep(0)
    asked[5].cancel()
    done = await asyncio.gather(*asked, return_exceptions=True)
    started = pool.statistics().started
    await pool.close()
    assert isinstance(done[5], asyncio.CancelledError)
    assert begun == Counter([0, 1, 2, 3, 4, 6, 7])
    assert started == 2


async def test_who_is_cancelled_while_it_runs_costs_nobody_else_a_run(tmp_path: Path, begun: Begun) -> None:
    pool = await pool_of(1, tmp_path, begun)
    asked = [asyncio.create_task(pool.run(doing(n, "hang" if n == 0 else ""))) for n in range(8)]
    while not begun[0]:
        await asyncio.sleep(0)
    asked[0].cancel()
    done = await asyncio.gather(*asked, return_exceptions=True)
    await pool.close()
    assert [one.value for one in done[1:] if isinstance(one, ScriptDone)] == list(range(1, 8))
    assert begun == Counter(range(8))


async def test_a_script_that_forges_its_end_twice_costs_nobody_else_a_run(tmp_path: Path, begun: Begun) -> None:
    forger = """
    began(n)
    if n == 0:
        import gc
        wire = next(each for each in gc.get_objects() if type(each).__name__ == "Wire")
        for _ in range(2):
            wire.send({"op": "done", "spent": False, "seconds": 0, "done": {"kind": "value", "value": "forged"}})
    return n
    """
    pool = ScriptPool(size=1, scratch=tmp_path, host_functions={"began": begun})
    await pool.start()
    for _ in range(2):
        await pool.run(script(forger, names={"n": -1}))
    begun.clear()
    done = await asyncio.gather(*(pool.run(script(forger, names={"n": n})) for n in range(20)))
    await pool.close()
    assert [one.value for one in done] == ["forged", *range(1, 20)]
    assert begun == Counter(range(20))


class Desk:
    """An owner who writes down what it hears."""

    def __init__(self) -> None:
        self.back: asyncio.Future[list[Job]] = asyncio.get_running_loop().create_future()
        self.gone: asyncio.Future[tuple[list[Job], list[Job]]] = asyncio.get_running_loop().create_future()

    def served(self, process: SandboxProcess) -> None: ...

    def left(self, process: SandboxProcess, jobs: Sequence[Job]) -> None:
        if jobs and not self.back.done():
            self.back.set_result(list(jobs))

    def lost(self, process: SandboxProcess, culprits: Sequence[Job], jobs: Sequence[Job], why: Why) -> None:
        self.gone.set_result((list(culprits), list(jobs)))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[tuple[Desk, SandboxProcess, Callable[[str], Job]]]:
    """A process whose jobs the test gives."""
    desk, pool = Desk(), ScriptPool(scratch=tmp_path)
    process = await SandboxProcess.start(HELLO, tmp_path, desk)
    yield desk, process, lambda body: pool._job(script(body, timeout=30), Notebook().session({}))
    await process.kill()
    await pool.close()


async def test_what_is_given_behind_a_script_that_already_runs_is_taken_back_as_soon(desk: Any) -> None:
    heard, process, job = desk
    process.give([job("while True: pass")])
    behind = job("return 1")
    process.give([behind])
    assert await heard.back == [behind]


async def test_what_a_process_said_before_it_died_counts_though_writing_to_it_fails_first(desk: Any) -> None:
    heard, process, job = desk
    done, culprit, late = job("return 1"), job("import os; os._exit(3)"), job("return 2")
    process.give([done, culprit])
    os.waitid(os.P_PID, process._process.pid, os.WEXITED | os.WNOWAIT)  # our loop hears nothing meanwhile
    process.give([late])
    assert await heard.gone == ([culprit], [late])
    assert (await done.ended).done.value == 1


async def test_a_process_that_died_before_it_began_anything_has_no_culprit(desk: Any) -> None:
    heard, process, job = desk
    os.kill(process._process.pid, signal.SIGSTOP)
    jobs = [job("return 1"), job("return 2")]
    process.give(jobs)
    os.kill(process._process.pid, signal.SIGKILL)
    assert await heard.gone == ([], jobs)


async def test_who_is_told_why_its_process_died_is_told_though_the_pool_closes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def never(self: SandboxProcess) -> str:
        asked.set()
        return await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(SandboxProcess, "_how_it_ended", never)
    async with ScriptPool(size=1, scratch=tmp_path) as pool:
        running = asyncio.create_task(pool.run(script("import os; os._exit(1)")))
        await asked.wait()
    assert (await running).message == "the worker stopped"


TELLS_OUTSIDE = """
import socket, time
if n >= 0:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out: out.sendto(str(n).encode(), ("127.0.0.1", port))
    if n == 1: time.sleep(0.01)
return n
"""


@pytest.mark.parametrize("cancelled", [0, 1], ids=["who has ended", "who has begun"])
async def test_who_is_cancelled_before_we_hear_how_far_it_is_makes_nobody_run_twice(
    tmp_path: Path, cancelled: int
) -> None:
    """Effects are counted outside: what a process says may be what is lost."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as seen:
        seen.bind(("127.0.0.1", 0))
        seen.settimeout(0.2)

        def telling(n: int) -> RunScript:
            return script(TELLS_OUTSIDE, names={"n": n, "port": seen.getsockname()[1]}, network=True)

        async with ScriptPool(size=1, scratch=tmp_path) as pool:
            for _ in range(2):
                await pool.run(telling(-1))
            asked = [asyncio.create_task(pool.run(telling(n))) for n in range(4)]
            while not pool._crew.busy:
                await asyncio.sleep(0)
            busy(0.005)  # 0 has ended, 1 has begun
            asked[cancelled].cancel()
            done = await asyncio.gather(*asked, return_exceptions=True)
        told = []
        with suppress(TimeoutError):
            while True:
                told.append(int(seen.recv(10)))
    assert max(Counter(told).values()) == 1, told
    for n, one in enumerate(done):
        assert n == cancelled or (isinstance(one, ScriptDone) and one.value == n), (n, one)


async def test_an_answer_that_comes_when_its_script_has_left_the_question_is_nobody_elses(tmp_path: Path) -> None:
    async def slow(who: str) -> str:
        await asyncio.sleep(0.05 if who == "a" else 0.2)
        return f"the answer for {who}"

    leaves = """
    import signal
    class Late(Exception): pass
    def ring(*_): raise Late
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try: return slow("a")
    except Late: return "gave up"
    """
    async with ScriptPool(size=1, scratch=tmp_path, host_functions={"slow": slow}) as pool:
        done = await asyncio.gather(
            *(pool.run(script(body)) for body in (leaves, "return slow('b')", "return slow('c')"))
        )
    assert [one.value for one in done] == ["gave up", "the answer for b", "the answer for c"]


THEFT = """
import os
for fd in range(3, 30) if n == 0 else ():
    try:
        {}
    except OSError:
        pass
while n == 0:
    pass
return n
"""
THEFTS = {
    "makes it wait": "os.set_blocking(fd, True)",
    "reads a byte": "os.set_blocking(fd, False); os.read(fd, 1)",
    "reads it empty": "os.set_blocking(fd, False); os.read(fd, 9999)",
}


@pytest.mark.parametrize("theft", THEFTS.values(), ids=THEFTS.keys())
async def test_whatever_a_script_does_to_the_tokens_its_deadline_holds_and_everybody_is_told(
    tmp_path: Path, theft: str
) -> None:
    async with ScriptPool(size=1, scratch=tmp_path) as pool:
        thief = script(THEFT.format(theft), names={"n": -1})
        await pool.run(thief)
        asked = [replace(thief, names={"n": n}, timeout=0.3) for n in range(6)]
        async with asyncio.timeout(20):
            first, *_ = await asyncio.gather(*map(pool.run, asked))
    assert first.kind == "timeout"


async def test_a_process_that_does_not_begin_its_job_in_all_the_time_it_has_is_given_up(desk: Any) -> None:
    heard, process, job = desk
    os.kill(process._process.pid, signal.SIGSTOP)
    late = job("return 1")
    late.timeout = 0.1
    process.give([late])
    assert await heard.gone == ([], [late])


async def test_a_step_that_no_process_can_read_is_given_up_at_the_second(desk: Any) -> None:
    heard, process, job = desk
    os.kill(process._process.pid, signal.SIGSTOP)
    unlucky, other = job("return 1"), job("return 2")
    unlucky.losses = 1
    process.give([unlucky, other])
    os.kill(process._process.pid, signal.SIGKILL)
    assert await heard.gone == ([unlucky], [other])


async def test_a_script_that_hung_is_not_expected_to_be_quick_the_next_time(tmp_path: Path, begun: Begun) -> None:
    pool = await pool_of(1, tmp_path, begun)
    assert pool.prompt(doing(0))
    await pool.run(doing(0, "hang", timeout=0.1))
    assert not pool.prompt(doing(0))
    await pool.close()


async def test_no_more_than_so_many_are_told_that_they_would_begin_soon(
    tmp_path: Path, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_orchestrator.trust.pool._SHORT", 3)
    pool = await pool_of(1, tmp_path, begun)
    asked = [asyncio.create_task(pool.run(doing(n))) for n in range(3)]
    await asyncio.sleep(0)
    assert not pool.prompt(doing(3))
    await asyncio.gather(*asked)
    assert pool.prompt(doing(3))
    await pool.close()


def busy(seconds: float) -> None:
    """Our own loop hears nothing meanwhile."""
    time.sleep(seconds)


DEEDS = ["", "", "", "", "", "", "fail", "sleep", "leave", "hang", "thread"]


@pytest.mark.parametrize("seed", range(6))
async def test_a_storm_runs_every_script_once_and_tells_everyone_the_truth(
    tmp_path: Path, begun: Begun, seed: int
) -> None:
    chance = random.Random(seed)
    pool = await pool_of(3, tmp_path, begun, max_runs=chance.choice([7, 1_000]))
    deeds = [chance.choice(DEEDS) for _ in range(150)]
    cancelled = {n for n in range(150) if chance.random() < 0.1}
    shot: set[int] = set()

    async def ask(n: int) -> ScriptDone:
        await asyncio.sleep(chance.random() * 0.3)
        timeout = 0.15 if deeds[n] == "hang" else 30  # a slow machine makes no other late
        return await pool.run(doing(n, deeds[n], timeout=timeout, rank=chance.randrange(4)))

    async def cancel(n: int) -> None:
        await asyncio.sleep(chance.random() * 0.4)
        asked[n].cancel()

    async def shoot() -> None:
        for _ in range(4):
            await asyncio.sleep(chance.random() * 0.2)
            pids = sorted(process._process.pid for process in pool._crew._processes if process.usable)
            if pids:
                pid = chance.choice(pids)
                shot.add(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    async def stall() -> None:
        for _ in range(15):
            await asyncio.sleep(chance.random() * 0.04)
            busy(chance.random() * 0.02)

    asked = [asyncio.create_task(ask(n)) for n in range(150)]
    await asyncio.gather(shoot(), stall(), *(cancel(n) for n in cancelled))
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert max(begun.values()) == 1
    expected = {"fail": "error", "leave": "killed", "hang": "timeout"}
    surprises = []
    for n, one in enumerate(done):
        if isinstance(one, BaseException):
            assert n in cancelled
            assert isinstance(one, asyncio.CancelledError), one
            continue
        if one.kind != expected.get(deeds[n], "value"):
            surprises.append((n, deeds[n], one.message))
        assert one.kind in ("killed", expected.get(deeds[n], "value")), (n, deeds[n], one)
        assert one.value == (n if one.kind == "value" else None)
        assert begun[n] == 1 or one.kind == "killed"
    assert len(surprises) <= len(shot), f"who was shot costs one script: {surprises}"
    now = pool.statistics()
    assert (now.busy, now.waiting) == (0, 0)
    await pool.close()
