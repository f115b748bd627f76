"""Steps and checks of `support_triage_integration.yaml`: a help desk in a SQLite file."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from typing import Any

__all__ = ["answer_is_drafted", "filed_in", "open_tickets", "rows_of_ticket", "start_help_desk", "stop_help_desk"]

_DESK: dict[str, str] = {}  # where the help desk is: setup and checks run in one process


def start_help_desk() -> dict[str, str]:
    """An empty help desk."""
    handle, path = tempfile.mkstemp(suffix=".sqlite")
    os.close(handle)
    _DESK["path"] = path
    with closing(sqlite3.connect(path)) as desk, desk:
        desk.execute("create table tickets (id text, subject text, queue text)")
    return {"path": path}


def open_tickets(path: str, tickets: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The tickets, in no queue yet."""
    with closing(sqlite3.connect(path)) as desk, desk:
        rows = [(ticket["ticket_id"], ticket["subject"]) for ticket in tickets.values()]
        desk.executemany("insert into tickets (id, subject) values (?, ?)", rows)
    return tickets


def filed_in(queue: str, result: Any) -> bool:
    """Files the ticket as the pipeline says, and looks whether it is in that queue."""
    with closing(sqlite3.connect(_DESK["path"])) as desk, desk:
        output = result.output
        desk.execute("update tickets set queue = ? where id = ?", (output["queue"], output["ticket_id"]))
        found = desk.execute("select queue from tickets where id = ?", (output["ticket_id"],)).fetchone()
    return bool(found == (queue,))


def rows_of_ticket(expected: Any, result: Any) -> int:
    """How many rows a ticket has: the value is compared with what the test expects."""
    with closing(sqlite3.connect(_DESK["path"])) as desk:
        (count,) = desk.execute("select count(*) from tickets where id = ?", (result.output["ticket_id"],)).fetchone()
    return int(count)


def answer_is_drafted(result: Any) -> bool:
    """Whether there is something to send."""
    return bool(result.output["draft_reply"])


def stop_help_desk(path: str) -> None:
    """Nothing is left of it."""
    os.unlink(path)
