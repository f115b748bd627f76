"""The exit codes of `worker` when it is told to stop."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from stream_orchestrator.cli import parent
from stream_orchestrator.cli.orders import Orders
from stream_orchestrator.streaming.core.supervisor import Supervisor

ORDERS = Orders(paths=("p.yaml",), broker="")


class Childish(Supervisor):
    """Its child tells the parent to stop, and ends as `child` says."""

    child_script = ""

    def __init__(self, command: list[str], **options: object) -> None:
        super().__init__([sys.executable, "-c", self.child_script], **options)  # type: ignore[arg-type]


def code_of(script: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(Childish, "child_script", script)
    monkeypatch.setattr(parent, "Supervisor", Childish)
    monkeypatch.setattr(parent, "broker_reachable", lambda _: True)
    return parent.keep_serving(ORDERS, broker="kafka://127.0.0.1:9", instance_id="one")


def stopping(number: signal.Signals, then: str) -> str:
    return f"import os, signal, time; os.kill({os.getpid()}, {int(number)}); {then}"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_child_that_is_stopped_before_it_can_listen_has_cut_nothing(
    number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert code_of(stopping(number, "time.sleep(60)"), monkeypatch) == code


def test_a_drain_that_was_cut_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = "signal.signal(signal.SIGTERM, lambda *_: os._exit(1)); "
    script = f"import os, signal, time; {cut}{stopping(signal.SIGTERM, 'time.sleep(60)')}"
    assert code_of(script, monkeypatch) == 1


def test_a_child_that_another_stops_is_no_success(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Nobody told us to stop: we start it again, and its next life ends with a code of its own.
    mark = tmp_path / "lived"
    script = (
        f"import os, pathlib, signal; mark = pathlib.Path({str(mark)!r}); again = mark.exists(); mark.touch(); "
        "os._exit(2) if again else os.kill(os.getpid(), signal.SIGTERM)"
    )
    assert code_of(script, monkeypatch) == 2
