"""Where runs are that have no result: by the audit, in a few words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import orjson

from stream_orchestrator.errors import MissingError
from stream_orchestrator.plan import names
from stream_orchestrator.streaming.client import read_all
from stream_orchestrator.streaming.settings import StreamSettings


async def whereabouts(settings: StreamSettings, prefix: str, run_ids: Collection[str]) -> str:
    """`2 at summary (started), 1 not accepted yet`: the last thing that is known of each run."""
    last = dict.fromkeys(run_ids, "not accepted yet")
    times: dict[str, str] = {}
    try:
        records = await read_all(settings, names.audit_topic(prefix))
    except MissingError as away:
        return str(away)
    for record in records:
        run_id = (record.key or b"").decode(errors="replace")
        if run_id in last:
            _see(run_id, record.value, last, times)
    return ", ".join(f"{count} {place}" for place, count in Counter(last.values()).most_common(5))


def _see(run_id: str, value: bytes | None, last: dict[str, str], times: dict[str, str]) -> None:
    for told in orjson.loads(value or b"{}").get("transitions", []):
        if told["at"] >= times.get(run_id, ""):
            times[run_id] = told["at"]
            last[run_id] = f"at {told['task']} ({told['kind']})"
