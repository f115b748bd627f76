"""`file_task`: a file or folder that the worker allows."""

from __future__ import annotations

from typing import Any

from stream_orchestrator.errors import RunError
from stream_orchestrator.tasks.services import ServiceTask, text_in


class FileTask(ServiceTask):
    """Reads, writes, appends to, lists, deletes, or looks for a file."""

    name = "file_task"
    summary = "Works on a file below the allowed folders; the output is `{path, ...}` and what the operation gives."
    guarantees = (
        "A write is whole or not there. A repeated attempt changes nothing: an append is known by its key. Nothing "
        "outside of the folders in FILES__ROOTS is reached, by `..` or by links neither."
    )
    example = """\
name: "Keeper"
input_variables:
  note: {type: string}
tasks:
  - name: "kept"
    type: "file_task"
    operation: append
    path: "notes.txt"
    content: "{{ note }}\\n"
"""

    def request(self, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The operation, with all it needs."""
        text_in(options, "path")
        operation = str(options["operation"])
        if operation in {"write", "append"} and "content" not in options:
            raise RunError(f"`{operation}` needs `content`")
        return operation, {key: value for key, value in options.items() if key != "operation"}
