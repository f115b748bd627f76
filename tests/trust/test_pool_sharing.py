"""Many scripts in few processes: order, isolation, replacement, and the end."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sandbox_scripts import script

from stream_orchestrator.errors import HouseError, MissingError
from stream_orchestrator.kernel.notebook import Notebook
from stream_orchestrator.trust.pool import ScriptPool
from stream_orchestrator.trust.process import Hello, ProcessLost, SandboxProcess

HELLO = Hello(functions=(), host_functions=(), fingerprint_key=b"", max_runs=10)


@pytest.fixture
async def one(tmp_path: Path):
    """One process, and its reserve."""
    async with ScriptPool(size=1, scratch=tmp_path) as pool:
        yield pool


async def test_a_hanging_script_does_not_delay_others_while_a_process_is_free(tmp_path: Path) -> None:
    async with ScriptPool(size=2, scratch=tmp_path) as pool:
        hanging = asyncio.create_task(pool.run(script("while True: pass", timeout=30)))
        values = [(await pool.run(script("return n", names={"n": n}))).value for n in range(20)]
        assert values == list(range(20))
        assert not hanging.done()
        assert pool.statistics().busy == 1
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)


async def test_runs_start_in_the_order_they_were_asked_for(one: ScriptPool) -> None:
    started: list[int] = []

    async def ask(n: int) -> None:
        await one.run(script("return n", names={"n": n}))
        started.append(n)

    await asyncio.gather(*(ask(n) for n in range(50)))
    assert started == list(range(50))


async def test_every_answer_goes_to_the_one_who_asked(tmp_path: Path) -> None:
    async with ScriptPool(size=3, scratch=tmp_path) as pool:
        bodies = ["return n", "print(n)\nreturn n", "1 / 0", "import os; os._exit(n % 7)", "return {'n': n}"]
        asked = [script(bodies[n % len(bodies)], names={"n": n}) for n in range(100)]
        answers = await asyncio.gather(*map(pool.run, asked))
    for n, done in enumerate(answers):
        match n % len(bodies):
            case 0 | 1:
                assert done.value == n
            case 2:
                assert done.error_type == "ZeroDivisionError"
            case 3:
                assert done.message == f"its process left with exit code {n % 7}"
            case 4:
                assert done.value == {"n": n}


LEFT_BEHIND = {
    "a global": ("global mine\nmine = 1", "return 'mine' in globals()", False),
    "a builtin": ("import builtins\nbuiltins.len = lambda x: 7\nbuiltins.mine = 1", "return len([])", 0),
    "a new builtin": ("import builtins\nbuiltins.mine = 1", "return mine", "NameError"),
    "the working directory": ("import os; os.chdir('/')", "import os; return os.getcwd() == '/'", False),
    "the environment": ("import os; os.environ['MINE'] = '1'", "import os; return os.getenv('MINE')", None),
    "the umask": ("import os; os.umask(0)", "import os; return os.umask(0)", 0o077),
    "a signal handler": (
        "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN)",
        "import signal; return signal.getsignal(signal.SIGALRM) == signal.SIG_DFL",
        True,
    ),
    "an alarm": ("import signal; signal.alarm(1)", "import signal; return signal.alarm(0)", 0),
    "a blocked signal": (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])",
        "import signal; return len(signal.pthread_sigmask(signal.SIG_BLOCK, []))",
        0,
    ),
    "the import path": (
        "import sys; sys.path.insert(0, '/nowhere')",
        "import sys; return '/nowhere' in sys.path",
        False,
    ),
    "the recursion limit": (
        "import sys; sys.setrecursionlimit(77)",
        "import sys; return sys.getrecursionlimit() > 77",
        True,
    ),
    "stdout": ("import sys; sys.stdout = sys.stderr = None", "print('x')\nreturn 1", 1),
    "stdin": ("import sys; sys.stdin = None", "import sys; return sys.stdin is None", False),
    "a trace": ("import sys; sys.settrace(lambda *_: None)", "import sys; return sys.gettrace()", None),
    "files": ("open('mine', 'w')", "import os; return os.listdir()", []),
    "changed inputs": ("items.append(1)", "return items", [0]),
}


@pytest.mark.parametrize(("first", "second", "expected"), LEFT_BEHIND.values(), ids=LEFT_BEHIND.keys())
async def test_the_next_script_does_not_see(one: ScriptPool, first: str, second: str, expected: object) -> None:
    await one.run(script(first, names={"items": [0]}))
    done = await one.run(script(second, names={"items": [0]}))
    assert (done.error_type or done.value) == expected
    assert one.statistics().started == 2, "it ran in the same process"


async def test_modules_stay_warm_between_scripts(one: ScriptPool) -> None:
    await one.run(script("import colorsys"))
    assert (await one.run(script("import sys; return 'colorsys' in sys.modules"))).value is True


async def test_a_process_whose_script_left_a_thread_is_replaced(one: ScriptPool) -> None:
    pid = "import os, threading, time\n{}\nreturn os.getpid()"
    thread = "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    first = (await one.run(script(pid.format(thread)))).value
    assert (await one.run(script(pid.format("pass")))).value != first
    while one.statistics().recycled == 0:
        await asyncio.sleep(0.01)


async def test_a_process_is_replaced_after_its_share_of_runs(tmp_path: Path) -> None:
    async with ScriptPool(size=1, scratch=tmp_path, max_runs=3) as pool:
        pids = [(await pool.run(script("import os; return os.getpid()"))).value for _ in range(9)]
    assert len(set(pids)) >= 3
    assert all(pids.count(pid) == 3 for pid in set(pids))


async def test_a_process_that_died_while_idle_costs_no_run(one: ScriptPool) -> None:
    pid = (await one.run(script("import os; return os.getpid()"))).value
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert (await one.run(script("return 1"))).value == 1


async def test_a_cancelled_run_kills_its_script(one: ScriptPool) -> None:
    said = asyncio.create_task(one.run(script("while True: pass", timeout=60)))
    while one.statistics().busy == 0:
        await asyncio.sleep(0)
    said.cancel()
    with pytest.raises(asyncio.CancelledError):
        await said
    assert (await one.run(script("return 1"))).value == 1
    assert one.statistics().busy == 0


async def test_statistics_count_what_happened(one: ScriptPool) -> None:
    for body in ("return 1", "while True: pass", "import os; os._exit(1)", "1 / 0"):
        await one.run(script(body, timeout=0.2))
    now = one.statistics()
    assert (now.size, now.runs, now.timeouts, now.killed, now.busy, now.waiting) == (1, 4, 1, 1, 0, 0)


async def test_close_ends_what_is_running_and_refuses_what_comes_after(tmp_path: Path) -> None:
    pool = ScriptPool(size=1, scratch=tmp_path)
    await pool.start()
    running = asyncio.create_task(pool.run(script("open('begun', 'w')\nwhile True: pass", timeout=60)))
    waiting = asyncio.create_task(pool.run(script("return 1")))
    while not list(tmp_path.rglob("begun")):
        await asyncio.sleep(0.01)
    await pool.close()
    assert (await running).kind == "killed"
    with pytest.raises(HouseError, match="closed"):
        await waiting
    with pytest.raises(HouseError, match="closed"):
        await pool.run(script("return 1"))
    assert list(tmp_path.iterdir()) == []


async def test_what_has_ended_when_the_pool_closes_has_ended_well(one: ScriptPool) -> None:
    asked = asyncio.create_task(one.run(script("return 7")))
    while not (one._crew.busy and next(iter(one._crew.busy)).jobs):
        await asyncio.sleep(0)
    (process,) = one._crew.busy
    select.select([process._ours], [], [], 10)  # it has said so, and our loop has not heard it
    await one.close()
    assert (await asked).value == 7


async def test_helpers_that_break_later_are_a_house_error_and_no_hang(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("stream_orchestrator.trust.crew._PAUSES", (0.05,))
    monkeypatch.setattr("stream_orchestrator.trust.crew._PATIENCE", 0.2)
    helpers = tmp_path / "helpers.py"
    helpers.write_text("def twice(n): return n * 2\n")
    async with ScriptPool(size=1, functions=[str(helpers)], scratch=tmp_path / "scratch") as pool:
        helpers.write_text("nonsense(")
        for _ in range(2):  # the process and its reserve
            assert (await pool.run(script("import os; os._exit(1)"))).kind == "killed"
        with pytest.raises(HouseError, match=r"helpers\.py, line 1"):
            await pool.run(script("return twice(4)"))
        monkeypatch.setattr("stream_orchestrator.trust.crew._PATIENCE", 30)
        patient = asyncio.create_task(pool.run(script("return twice(4)")))
        await asyncio.sleep(0.5)  # some attempts fail
        (tmp_path / "mended").write_text("def twice(n): return n * 2\n")
        (tmp_path / "mended").replace(helpers)  # at once: a retry could read a file that is half written
        assert (await patient).value == 8


async def test_replacements_that_die_before_they_are_ready_are_tried_one_at_a_time(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("stream_orchestrator.trust.crew._PAUSES", (0.01,))
    helpers = tmp_path / "helpers.py"
    helpers.write_text("")
    async with ScriptPool(size=1, functions=[str(helpers)], scratch=tmp_path / "scratch") as pool:
        helpers.write_text("import os; os._exit(1)")
        assert (await pool.run(script("import os; os._exit(3)"))).kind == "killed"
        for _ in range(40):
            await asyncio.sleep(0.02)
            assert len(pool._crew._replacing) <= 1
        (tmp_path / "mended").write_text("")
        (tmp_path / "mended").replace(helpers)
        while pool._crew._replacing:
            await asyncio.sleep(0.01)
        assert len(pool._crew._processes) == 2
        assert pool._crew._scratch is not None
        folders = [each for each in pool._crew._scratch.root.iterdir() if each.is_dir()]
        assert len(folders) == 2


async def test_who_was_to_be_told_why_its_process_died_is_told_though_the_pool_closes_in_that_moment(
    tmp_path: Path,
) -> None:
    pool = ScriptPool(size=1, scratch=tmp_path)
    await pool.start()
    running = asyncio.create_task(pool.run(script("while True: pass", timeout=0.05)))
    while not pool._crew._culprits:
        await asyncio.sleep(0)
    await pool.close()
    assert (await running).kind in ("killed", "timeout")


@pytest.mark.parametrize("broken", [False, True])
async def test_close_in_the_middle_of_a_replacement_leaves_nothing_open(
    tmp_path: Path, monkeypatch, broken: bool
) -> None:
    monkeypatch.setattr("stream_orchestrator.trust.crew._PAUSES", (0.0,))
    helpers = tmp_path / "helpers.py"
    for place in range(10):
        helpers.write_text("")
        pool = ScriptPool(size=1, functions=[str(helpers)], scratch=tmp_path / "scratch")
        await pool.start()
        helpers.write_text("nonsense(" if broken else "")
        assert (await pool.run(script("import os; os._exit(1)"))).kind == "killed"
        await asyncio.sleep(0.009 * place)  # somewhere in the life of a process, wherever that is on this machine
        await pool.close()
        gc.collect()  # an open socket or process would warn, and a warning fails the test
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_a_kill_that_is_cancelled_leaves_no_socket_open(tmp_path: Path) -> None:
    process = await SandboxProcess.start(HELLO, tmp_path, ScriptPool())
    killing = asyncio.create_task(process.kill())
    await asyncio.sleep(0)
    killing.cancel()
    await asyncio.gather(killing, return_exceptions=True)
    assert process._transport.is_closing()
    await process.kill()


BROKEN = {
    "missing": (None, "no such file"),
    "not Python": ("def f(:\n", "line 1: SyntaxError"),
    "failing": ("x = 1\nimport no_such_module\n", "line 2: ModuleNotFoundError: No module named 'no_such_module'"),
    "leaving": ("import sys\nsys.exit('bye')\n", "line 2: SystemExit: bye"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN.keys())
async def test_functions_that_cannot_be_loaded_stop_the_start(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "helpers.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(MissingError) as caught:
        await ScriptPool(size=1, functions=[str(file)], scratch=tmp_path / "scratch").start()
    assert str(file) in str(caught.value)
    assert message in str(caught.value)
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_a_process_that_cannot_even_begin_says_why(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("stream_orchestrator.trust.process._BOOT", "raise SystemExit('no interpreter for you')")
    with pytest.raises(HouseError, match="no interpreter for you"):
        await ScriptPool(size=1, scratch=tmp_path).start()


WORKER = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from sandbox_scripts import script
from stream_orchestrator.trust.pool import ScriptPool

async def main():
    async with ScriptPool(size=2, scratch={scratch!r}) as pool:
        pids = [process._process.pid for process in pool._crew._processes]
        hanging = asyncio.create_task(pool.run(script("while True: pass", timeout=60)))
        while pool.statistics().busy == 0:
            await asyncio.sleep(0.01)
        print(*pids, flush=True)
        await hanging

asyncio.run(main())
"""


def gone(pid: int) -> bool:
    """Whether a process has ended; one that waits for its parent to notice counts as ended."""
    try:
        return subprocess.check_output(["ps", "-o", "stat=", "-p", str(pid)], text=True).startswith("Z")
    except subprocess.CalledProcessError:
        return True


def test_the_processes_of_a_killed_worker_die_with_it(tmp_path: Path) -> None:
    code = textwrap.dedent(WORKER).format(tests=str(Path(__file__).parent), scratch=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        pids = [int(pid) for pid in worker.stdout.readline().split()]
        assert len(pids) == 3
        assert not any(map(gone, pids))
        worker.kill()
    while not all(map(gone, pids)):  # the test's own timeout is the bound
        pass


async def test_the_next_worker_deletes_the_files_of_a_killed_one(tmp_path: Path) -> None:
    code = textwrap.dedent(WORKER).format(tests=str(Path(__file__).parent), scratch=str(tmp_path))
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert worker.stdout is not None
    await worker.stdout.readline()
    (left,) = tmp_path.iterdir()
    async with ScriptPool(size=1, scratch=tmp_path):
        assert left.exists(), "a living worker's files are left alone"
    worker.kill()
    await worker.communicate()
    async with ScriptPool(size=1, scratch=tmp_path):
        assert not left.exists()


async def test_a_process_leaves_when_its_pipe_hangs_up_although_its_script_runs(tmp_path: Path) -> None:
    pool = ScriptPool()
    process = await SandboxProcess.start(HELLO, tmp_path, pool._crew)
    job = pool._job(script("open('begun', 'w')\nwhile True: pass"), Notebook().session({}))
    process.give([job])
    while not list(tmp_path.glob("begun")):
        await asyncio.sleep(0.01)
    process._transport.abort()
    assert await asyncio.to_thread(process._process.wait, 10) == 0
    with pytest.raises(ProcessLost, match="exit code 0"):
        await job.ended
    await process.kill()
    await pool.close()
