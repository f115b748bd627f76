"""A worker's parent: one child at a time, started again, given up on loudly, stopped well, and never orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stream_orchestrator.streaming.core.supervisor import (
    GAVE_UP,
    INSTANCE_VARIABLE,
    Patience,
    Supervisor,
    broker_reachable,
)
from stream_orchestrator.streaming.settings import StreamSettings

QUICK = Patience(exits=3, within=60.0, first_wait=0.001, longest_wait=0.004)
ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def within(seconds: float, state: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not state():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except FileNotFoundError:
        return False


def test_a_child_that_ends_well_ends_the_supervision() -> None:
    assert Supervisor(python("")).run() == 0


def test_what_cannot_get_better_is_not_tried_again(tmp_path: Path) -> None:
    log = tmp_path / "lives"
    code = "import sys; open(sys.argv[1], 'a').write('x'); sys.exit(int(sys.argv[2]))"
    for final in (2, 3):
        log.write_text("")
        assert Supervisor(python(code, log, final), patience=QUICK).run() == final
        assert log.read_text() == "x"


def test_a_child_that_dies_is_started_again_with_the_same_id_and_never_beside_the_last(tmp_path: Path) -> None:
    code = """
import os, sys
log = sys.argv[1]
lives = open(log).read().splitlines() if os.path.exists(log) else []
for life in lives:
    pid = int(life.split()[0])
    assert not os.path.exists(f"/proc/{pid}"), "two at once"
open(log, "a").write(f"{os.getpid()} {os.environ['STREAM_ORCHESTRATOR_INSTANCE_ID']}\\n")
if len(lives) < 2:
    os.kill(os.getpid(), 9)
"""
    said: list[str] = []
    supervisor = Supervisor(python(code, tmp_path / "lives"), patience=QUICK, say=said.append)
    assert supervisor.run() == 0
    lives = [line.split() for line in (tmp_path / "lives").read_text().splitlines()]
    assert len(lives) == 3
    assert {name for _, name in lives} == {supervisor.instance_id}
    assert [line for line in said if "SIGKILL" in line] == said
    assert len(said) == 2


def test_too_many_deaths_in_a_short_time_are_given_up_on_loudly() -> None:
    said: list[str] = []
    assert Supervisor(python("raise SystemExit(7)"), patience=QUICK, say=said.append).run() == GAVE_UP
    assert said[-1] == "the worker died 3 times within 60 s (exit code 7); giving up"
    assert len(said) == 3


def test_deaths_are_not_counted_while_the_broker_is_away() -> None:
    probes = iter([False, False, False, False, True, True, True])
    said: list[str] = []
    supervisor = Supervisor(
        python("raise SystemExit(7)"), patience=QUICK, say=said.append, reachable=lambda: next(probes)
    )
    assert supervisor.run() == GAVE_UP
    assert len(said) == 7


def test_old_deaths_are_forgotten() -> None:
    times = iter(range(0, 10_000, 50))
    lives = iter(range(6))
    supervisor = Supervisor(
        python("raise SystemExit(7)"),
        patience=Patience(exits=3, within=60.0, first_wait=0.001, longest_wait=0.001),
        clock=lambda: float(next(times)),
        reachable=lambda: next(lives) < 6,
    )
    try:
        supervisor.run()
    except StopIteration:
        return
    raise AssertionError("it gave up on deaths that were minutes apart")


PARENT = """
import sys
from stream_orchestrator.streaming.core.supervisor import Patience, Supervisor
sys.exit(Supervisor(sys.argv[1:], patience=Patience(first_wait=0.01)).run())
"""
DRAINS = """
import os, signal, sys, time
def drain(*_):
    open(sys.argv[2], "w").write("drained")
    os._exit(0)  # an exception would be lost in a finalizer that it interrupts
signal.signal(signal.SIGTERM, drain)
open(sys.argv[1], "w").write(str(os.getpid()))
while True:
    time.sleep(0.1)  # a signal that comes just before a sleep is heard after it
"""
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: open(sys.argv[2], "w").write("asked"))
open(sys.argv[1], "w").write(str(os.getpid()))
while True:
    time.sleep(1)
"""


def parent_of(code: str, tmp_path: Path) -> tuple[subprocess.Popen[bytes], int]:
    command = python(PARENT, *python(code, tmp_path / "pid", tmp_path / "said"))
    parent = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert within(20, lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    return parent, int((tmp_path / "pid").read_text())


def test_sigterm_lets_the_child_drain_and_starts_none_after_it(tmp_path: Path) -> None:
    parent, child = parent_of(DRAINS, tmp_path)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(10) == 0
    assert (tmp_path / "said").read_text() == "drained"
    assert not alive(child)


def test_a_second_sigterm_forces(tmp_path: Path) -> None:
    parent, child = parent_of(STUBBORN, tmp_path)
    parent.send_signal(signal.SIGTERM)
    assert within(10, lambda: (tmp_path / "said").exists())
    assert alive(child)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(10) == 128 + signal.SIGKILL
    assert not alive(child)


def test_a_killed_parent_takes_its_child_along(tmp_path: Path) -> None:
    parent, child = parent_of(STUBBORN, tmp_path)
    parent.kill()
    parent.wait()
    assert within(5, lambda: not alive(child))


def test_the_childs_id_is_the_one_that_was_given() -> None:
    code = f"import os, sys; sys.exit(0 if os.environ[{INSTANCE_VARIABLE!r}] == 'box-7' else 3)"
    assert Supervisor(python(code), instance_id="box-7").run() == 0


def test_a_broker_that_refuses_connections_is_unreachable(unused_tcp_port: int) -> None:
    assert not broker_reachable(StreamSettings(bootstrap=f"127.0.0.1:{unused_tcp_port}"))


def test_a_worker_that_served_waits_for_a_broker_that_is_away_when_it_starts_again(tmp_path: Path) -> None:
    code = """
import os, sys
lives = len(open(sys.argv[1]).read()) if os.path.exists(sys.argv[1]) else 0
open(sys.argv[1], "a").write("x")
sys.exit([7, 3, 3, 0][lives])
"""
    supervisor = Supervisor(python(code, tmp_path / "lives"), patience=QUICK, reachable=lambda: False)
    assert supervisor.run() == 0
    assert (tmp_path / "lives").read_text() == "xxxx"
