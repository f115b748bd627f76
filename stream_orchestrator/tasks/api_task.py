"""`api_task`: a request to an HTTP API."""

from __future__ import annotations

from typing import Any

from stream_orchestrator.errors import RunError
from stream_orchestrator.tasks.services import ServiceTask, text_in


class ApiTask(ServiceTask):
    """Sends one HTTP request."""

    name = "api_task"
    summary = "Sends a request to an HTTP API; the output is `{status, headers, json, body}`."
    guarantees = (
        "One request per call id; none is sent again but after a crash or an ambiguous time-out, or by `retry_count`, "
        "and then an unsafe method carries the same `Idempotency-Key`. Addresses of the worker's own network are "
        "refused unless FETCH__ALLOWED_HOSTS lists them. Secrets are filled in where the request is sent."
    )
    example = """\
name: "Stock"
input_variables:
  sku: {type: string}
tasks:
  - name: "stock"
    type: "api_task"
    url: "https://shop.example/api/stock"
    query: {sku: "{{ sku }}"}
    auth: {bearer: "{{ secret('shop_token') }}"}
"""

    def request(self, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Everything that goes over the wire, but for its secrets."""
        text_in(options, "url")
        if "json" in options and "body" in options:
            raise RunError("a request has `json` or `body`, not both")
        for key in ("headers", "query"):
            if not isinstance(options.get(key, {}), dict):
                raise RunError(f"`{key}` must be a map")
        return str(options.get("method", "GET")), options
