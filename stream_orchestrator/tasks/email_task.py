"""`email_task`: a message by e-mail."""

from __future__ import annotations

from typing import Any

from stream_orchestrator.errors import RunError
from stream_orchestrator.tasks.services import ServiceTask


class EmailTask(ServiceTask):
    """Sends one message."""

    name = "email_task"
    summary = "Sends a message; the output is `{message_id, accepted, refused}`."
    guarantees = (
        "A message may be sent again after a crash, or by `retry_count`; it has the same Message-ID then, by which "
        "mail servers and readers know it (`on_ambiguous: fail` forbids even that)."
    )
    example = """\
name: "Notice"
input_variables:
  address: {type: string}
tasks:
  - name: "told"
    type: "email_task"
    to: "{{ address }}"
    subject: "It is done"
    body: "The work of {{ run.id }} is done."
"""

    def request(self, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The message."""
        for key in ("to", "cc", "bcc"):
            options = {**options, key: _addresses(options.get(key), key)}
        if not options["to"]:
            raise RunError("`to` names nobody")
        if not isinstance(options.get("subject"), str):
            raise RunError("`subject` must be text")
        return "send", options


def _addresses(value: Any, key: str) -> list[str]:
    """Addresses, one by one: a list may hold a template that gives a list."""
    items = [value] if isinstance(value, str) else value or []
    flat = [each for item in items for each in (item if isinstance(item, list) else [item])]
    if not all(isinstance(each, str) and "@" in each for each in flat):
        raise RunError(f"`{key}` must hold e-mail addresses")
    return flat
