"""What scripts do, and how it ends. One pool for all: whatever a script did, the next one is served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sandbox_scripts import script

from stream_orchestrator.kernel.effects import RunScript
from stream_orchestrator.trust.pool import ScriptPool

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScriptPool]:
    async with ScriptPool(size=1, scratch=tmp_path_factory.mktemp("scratch")) as pool:
        yield pool


async def still_serves(pool: ScriptPool) -> bool:
    done = await pool.run(script("return 6 * 7"))
    return (done.kind, done.value) == ("value", 42)


ENDINGS = {
    "hangs": ("while True: pass", "timeout", "still running after 0.3 s"),
    "sleeps": ("import time; time.sleep(60)", "timeout", ""),
    "hangs asynchronously": ("import asyncio\nawait asyncio.sleep(60)", "timeout", ""),
    "prints for ever": ("while True: print('x' * 1000)", "timeout", ""),
    "ignores SIGTERM and hangs": (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
        "timeout",
        "",
    ),
    "leaves by os._exit": ("import os; os._exit(3)", "killed", "exit code 3"),
    "leaves by os._exit(0)": ("import os; os._exit(0)", "killed", "exit code 0"),
    "aborts": ("import os; os.abort()", "killed", "Abort"),
    "kills itself": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed", "Killed"),
    "faults in native code": ("import ctypes; ctypes.string_at(0)", "killed", "Segmentation"),
    "closes every descriptor": ("import os; os.closerange(0, 256)\nwhile True: pass", "timeout", ""),
    "allocates 2 GB": ("return len(bytearray(2 << 30))", "killed", "over its memory limit of 512 MiB"),
    "allocates 2 GB in small parts": ("return [bytes(100_000) for _ in range(20_000)]", "killed", "512 MiB"),
    "maps 4 GB of shared memory": ("import mmap; return len(mmap.mmap(-1, 4 << 30))", "killed", "512 MiB"),
    "raises MemoryError": ("raise MemoryError", "killed", "over its memory limit of 512 MiB"),
    "forks": ("import os; os.fork()", "error", "may not start other processes"),
    "is a fork bomb": (
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        "timeout",
        "",
    ),
    "runs a command": ("import subprocess; subprocess.run(['true'])", "error", "may not start other processes"),
    "runs a shell": ("import os; os.system('true')", "error", "may not start other processes"),
    "becomes another program": ("import os; os.execv('/bin/true', ['true'])", "error", "may not start other processes"),
    "spawns by multiprocessing": (
        "import multiprocessing\nmultiprocessing.get_context('spawn').Process(target=print).start()",
        "error",
        "may not start other processes",
    ),
    "kills the worker": ("import os; os.kill(os.getppid(), 9)", "error", "may not signal other processes"),
    "kills a group": ("import os; os.killpg(0, 9)", "error", "may not signal other processes"),
    "raises its memory limit": (
        "import resource; resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))",
        "error",
        "may not change its own limits",
    ),
    "asks for a key that is not there": ("return {}['a']", "error", "line 1: KeyError: 'a'"),
    "asserts without a word": ("assert False", "error", "line 1: AssertionError"),
    "exits": ("import sys; sys.exit(3)", "error", "line 1: 3"),
    "interrupts": ("raise KeyboardInterrupt", "error", "line 1"),
    "raises GeneratorExit": ("raise GeneratorExit", "error", "line 1"),
    "cancels itself": ("import asyncio\nasyncio.current_task().cancel()\nawait asyncio.sleep(9)", "error", "line 3"),
    "recurses without end": ("def f(): return f()\nf()", "error", "maximum recursion depth"),
    "reads stdin": ("return input()", "error", "EOF"),
    "imports what is not there": ("\nimport no_such_module", "error", "No module named 'no_such_module'"),
    "divides by zero": ("x = 0\n\nreturn 1 / x", "error", "line 3: division by zero"),
    "does not compile": ("return (", "error", "was never closed"),
    "raises an error that cannot be read": (
        "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
        "error",
        "line 3: (its message cannot be read)",
    ),
    "connects": (
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "error",
        "`sandbox: {network: true}`",
    ),
    "looks a name up": ("import socket; socket.getaddrinfo('localhost', 80)", "error", "may not use the network"),
    "sends a datagram": (
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
        "error",
        "may not use the network",
    ),
    "opens a local socket": (
        "import socket; socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
        "error",
        "may not use the network",
    ),
    "writes elsewhere": ("open('/tmp/elsewhere', 'w')", "error", "may only write in its own folder"),
    "writes elsewhere through a link": (
        "import os; os.symlink('/tmp', 'link')\nopen('link/elsewhere', 'w')",
        "error",
        "line 2: a script may only write in its own folder",
    ),
    "deletes elsewhere": ("import os; os.remove('/tmp/elsewhere')", "error", "may only write in its own folder"),
    "moves a file in": ("import os; os.rename('/etc/hostname', 'mine')", "error", "may only write in its own folder"),
    "reads the worker's environment": (
        "import os; return open(f'/proc/{os.getppid()}/environ').read()",
        "error",
        "may not read",
    ),
    "returns 20 MB": ("return 'x' * 20_000_000", "error", "20,000,002 bytes; 16,777,216 is the most"),
    "nests without end": (
        "x = []\nfor _ in range(400): x = [x]\nreturn x",
        "error",
        "nested deeper than 200 levels",
    ),
    "returns itself": ("x = []\nx.append(x)\nreturn x", "error", "nested deeper than 200 levels"),
}


@pytest.mark.parametrize(("body", "kind", "message"), ENDINGS.values(), ids=ENDINGS.keys())
async def test_a_script_that(pool: ScriptPool, body: str, kind: str, message: str) -> None:
    done = await pool.run(script(body, timeout=0.3 if kind == "timeout" else 5.0))
    assert (done.kind, done.value) == (kind, None), done
    assert message in done.message
    assert await still_serves(pool)


async def test_the_time_limit_counts_for_the_script_and_not_for_the_kill(pool: ScriptPool) -> None:
    done = await pool.run(script("while True: pass", timeout=0.2))
    assert 0.2 <= done.seconds < 1.0


async def test_deep_recursion_in_native_code_costs_one_run(pool: ScriptPool) -> None:
    done = await pool.run(
        script("import sys\nsys.setrecursionlimit(10**8)\ndef f(): return max([1], key=lambda x: f())\nf()")
    )
    assert done.kind in {"killed", "error"}  # the interpreter's own limits differ between its versions
    assert await still_serves(pool)


@pytest.mark.parametrize(
    ("size", "said"), [(64 << 20, "64 MiB"), (96 * 10**6, "96 MB"), (64_000_001, "64,000,001 bytes")]
)
async def test_a_smaller_memory_limit_holds_and_is_told_to_the_byte(pool: ScriptPool, size: int, said: str) -> None:
    done = await pool.run(script("return len(bytearray(100 << 20))", memory_bytes=size))
    assert (done.kind, done.message) == ("killed", f"over its memory limit of {said}")


async def test_memory_below_the_limit_is_given(pool: ScriptPool) -> None:
    done = await pool.run(script("return len(bytearray(400 << 20))"))
    assert done.value == 400 << 20


async def test_a_script_may_catch_its_own_memory_error_and_go_on(pool: ScriptPool) -> None:
    done = await pool.run(script("try: bytearray(2 << 30)\nexcept MemoryError: return 'smaller'"))
    assert done.value == "smaller"


async def test_what_was_said_before_a_kill_is_not_lost(pool: ScriptPool) -> None:
    for ending in ("while True: pass", "import os; os._exit(1)"):
        done = await pool.run(script(f"print('one')\nlogger.info('two')\n{ending}", timeout=1.5))
        assert [report["message"] for report in done.reports] == ["one", "two"]


async def test_a_print_flood_is_cut_and_counted(pool: ScriptPool) -> None:
    done = await pool.run(script("for n in range(50_000): print(n)\nreturn 'done'"))
    assert done.value == "done"
    assert len(done.reports) == 1_001
    assert done.reports[-1]["message"] == "49,000 more log lines of this script were dropped"


async def test_the_compiler_says_nothing_in_the_log(pool: ScriptPool) -> None:
    done = await pool.run(script(r"return '\d' is not '\d\d'"))
    assert (done.value, done.reports) == (True, ())


async def test_one_endless_line_is_cut(pool: ScriptPool) -> None:
    done = await pool.run(script("import sys\nfor _ in range(1000): sys.stdout.write('x' * 100_000)"))
    (line,) = done.reports
    assert len(line["message"]) <= 8 * 1024


async def test_what_native_code_writes_to_stdout_never_reaches_the_pipe(pool: ScriptPool) -> None:
    done = await pool.run(
        script("import os\nos.write(1, b'\\0\\0\\0\\5hello')\nos.write(2, b'x' * 9999)\nreturn 'clean'")
    )
    assert done.value == "clean"


async def test_nonsense_on_the_pipe_is_a_kill_and_nothing_more(pool: ScriptPool) -> None:
    nonsense = "import os\nfor n in range(3, 64):\n    try: os.write(n, b'\\0\\0\\0\\5hello')\n    except OSError: pass"
    done = await pool.run(script(nonsense))
    assert done.kind == "killed"
    assert "protocol" in done.message
    assert await still_serves(pool)


async def test_a_forged_outcome_of_an_unknown_kind_is_a_kill(pool: ScriptPool) -> None:
    forged = """
    import gc
    wire = next(each for each in gc.get_objects() if type(each).__name__ == "Wire")
    wire.send({"op": "done", "spent": False, "seconds": 0, "done": {"kind": "gold"}})
    """
    done = await pool.run(script(forged))
    assert done.kind == "killed"
    assert await still_serves(pool)


@pytest.mark.parametrize("ending", ["os._exit(1)", "return 1"], ids=["and dies", "and goes on"])
async def test_forged_reports_are_passed_over(pool: ScriptPool, ending: str) -> None:
    forged = f"""
    import gc, os
    wire = next(each for each in gc.get_objects() if type(each).__name__ == "Wire")
    wire.send({{"op": "reports", "reports": [{{"kind": []}}, 7, {{"kind": {{}}}}]}})
    {ending}
    """
    done = await pool.run(script(forged))
    assert done.kind == ("killed" if "exit" in ending else "value")
    assert done.reports == ()
    assert await still_serves(pool)


async def test_inputs_that_are_not_json_are_an_error_of_the_run(pool: ScriptPool) -> None:
    done = await pool.run(script("return 1", names={"n": 2**70}))
    assert (done.kind, done.error_type) == ("error", "TypeError")


async def test_files_are_written_in_an_empty_folder_of_its_own(pool: ScriptPool) -> None:
    writes = """
    import os, tempfile
    open("a", "w").write("x")
    tempfile.mkstemp()
    os.mkdir("d")
    open("d/b", "w")
    return len(os.listdir())
    """
    assert [(await pool.run(script(writes))).value for _ in range(2)] == [3, 3]


async def test_the_network_is_there_when_it_is_given(pool: ScriptPool) -> None:
    body = """
    import socket
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            client.sendall(b"hello")
            return server.accept()[0].recv(5).decode()
    """
    assert (await pool.run(script(body, network=True))).value == "hello"
    assert (await pool.run(script(body))).error_type == "PermissionError"


async def test_an_error_names_the_lines_that_led_to_it(pool: ScriptPool) -> None:
    done = await pool.run(script("def f(n):\n    return 1 / n\n\nx = 1\nreturn f(0)"))
    assert done.message == "line 2 (from line 5): division by zero"


async def test_the_scratch_folder_of_a_dead_process_is_deleted(tmp_path: Path) -> None:
    async with ScriptPool(size=1, scratch=tmp_path) as pool:
        folder = (await pool.run(script("import os; open('x', 'w')\nreturn os.getcwd()"))).value
        assert Path(folder).is_dir()
        await pool.run(script("import os; os._exit(1)"))
        await pool.run(script("import os; os._exit(1)"))
        while Path(folder).exists():
            await pool.run(script("return 1"))
    assert list(tmp_path.iterdir()) == []


async def test_a_script_that_arrived_as_data_is_refused_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "hunter22hunter")
    source = "def __step__(__b__):\n    return context.get_secret('shop_password')\n"
    pool = ScriptPool(size=1)
    await pool.start()
    try:
        allowed = await pool.run(RunScript(source=source, digest="a", info={}))
        refused = await pool.run(RunScript(source=source, digest="a", info={"secrets": False}))
    finally:
        await pool.close()
    assert allowed.kind == "value"
    assert refused.kind == "error"
    assert "gets no secrets" in refused.message
