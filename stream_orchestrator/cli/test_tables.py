"""What loads and replays came to, as tables on stdout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from stream_orchestrator.cli import voice
from stream_orchestrator.testkit.load import Load
from stream_orchestrator.testkit.records import Result, response_time
from stream_orchestrator.testkit.replay import Pair, told

SHOWN = 40  # rows of a replay: what differs comes first, and --json has all


def load_table(loads: Iterable[Load]) -> None:
    """Each scenario of a load test."""
    columns = ["SCENARIO", "SENT", "ERRORS", "RESULTS/S", "P50", "P95", "P99", "MAX", "IN FLIGHT", "CPU", "MEMORY"]
    voice.table(columns, map(_load_row, loads), right=columns[1:])


def _load_row(load: Load) -> list[Any]:
    told = load.to_json()
    times = [f"{told['response_time'][name]:.3f}" for name in ("p50", "p95", "p99", "max")]
    used = [f"{told['cpu_share'] * 100:.0f}%", f"{told['memory_bytes'] / 1e6:.0f}MB"]
    return [load.scenario.name, load.sent, load.errors, told["throughput"], *times, load.most_in_flight, *used]


def replay_table(pairs: Sequence[Pair]) -> None:
    """Each run of a replay, then beside now; what differs comes first."""
    columns = ["RUN", "STATUS", "OUTPUT", "COST THEN", "NOW", "SECONDS THEN", "NOW"]
    ordered = sorted(pairs, key=lambda pair: (not pair.is_worse, pair.same_output))
    voice.table(columns, [_replay_row(pair) for pair in ordered[:SHOWN]] + [_replay_sum(pairs)], right=columns[3:])
    if len(pairs) > SHOWN:
        voice.say(f"{len(pairs) - SHOWN} more runs are not shown; --json has them")
    for pair in [pair for pair in ordered if pair.changes][:3]:
        voice.say(voice.printable(f"{pair.run_id}: {'; '.join(pair.changes[:5])}"))


def _replay_row(pair: Pair) -> list[Any]:
    status = "same" if pair.same_status else f"{_status(pair.then)} -> {_status(pair.now)}"
    output = "-" if not pair.comparable else "differs" if pair.changes else "same"
    return [pair.run_id, status, output, *(_cost(each) for each in (pair.then, pair.now)), *_seconds(pair)]


def _replay_sum(pairs: Sequence[Pair]) -> list[Any]:
    all_of = told(pairs)
    shares = [f"{all_of[name] * 100:.0f}% same" for name in ("same_status", "same_output")]
    costs = [f"{all_of[side]['cost_usd']:.6f}" for side in ("then", "now")]
    return [f"all {len(pairs)}", *shares, *costs, *(f"p95 {all_of[side]['p95']:.3f}" for side in ("then", "now"))]


def _status(result: Result | None) -> str:
    return "none" if result is None else result.status


def _cost(result: Result | None) -> str:
    return "-" if result is None else f"{result.cost.get('usd', 0.0):.6f}"


def _seconds(pair: Pair) -> list[str]:
    return ["-" if each is None else f"{response_time(each):.3f}" for each in (pair.then, pair.now)]
