"""`database_task`: one SQL statement."""

from __future__ import annotations

from typing import Any

from stream_orchestrator.tasks.services import ServiceTask, count_in, text_in


class DatabaseTask(ServiceTask):
    """Runs one statement on a database."""

    name = "database_task"
    summary = "Runs one SQL statement; the output is `{rows, row_count}`, rows as maps."
    guarantees = (
        "Values are bound, never pasted. A statement that writes is applied once per step: its key is recorded in the "
        "same transaction, so a repeated attempt gives the recorded answer. One that reads cannot write."
    )
    example = """\
name: "Orders"
input_variables:
  order_id: {type: integer}
tasks:
  - name: "order"
    type: "database_task"
    connection: "orders_db"
    query: "SELECT id, total FROM orders WHERE id = :id"
    parameters: {id: "{{ order_id }}"}
"""

    def request(self, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The statement and its values."""
        text_in(options, "query")
        options = {**options, "max_rows": count_in(options, "max_rows", 1000, most=100_000)}
        return "execute", options
