"""Values too large for a record, on a broker: through scripts and groups, across pipelines, over a crash."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from support.broker import Broker

from stream_orchestrator.plan import names
from stream_orchestrator.plan.claims import KEY, is_claim
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.spec.config import from_environ
from stream_orchestrator.streaming.client import Outgoing, produce, read_all
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.worker import Worker

SIZE = 50_000_000
CHAIN = f"""
name: Chain
input_variables: {{letter: {{type: string}}}}
tasks:
  - {{name: made, type: python_task, script: "return letter * {SIZE}"}}
  - {{name: turned, type: python_task, script: "return {{'n': len(made), 'text': made[:-1] + 'z'}}"}}
  - name: seen
    type: python_task
    script: |
      again = context.get_task_output("turned")["text"]
      return [turned["n"], again == "{{{{ turned.text }}}}", again[-2:], len(again)]
output: {{told: "{{{{ seen }}}}", made: "{{{{ made }}}}", n: "{{{{ turned.n }}}}"}}
"""
GROUP = """
name: Group
input_variables: {n: {type: integer}}
tasks:
  - name: parts
    type: parallel_group
    timeout: 10 minutes
    tasks:
      - name: "part_{{ item.index }}"
        type: python_task
        for_each: "{{ n }}"
        script: "return [item['index']] * 50000"
  - {name: joined, type: python_task, script: "return [sum(part) for part in parts]"}
  - {name: again, type: for_loop, iterate_over: "{{ parts }}", item_variable: part, tasks: [
      {name: length, type: python_task, script: "return len(part)"}]}
output: ["{{ joined }}", "{{ again }}", "{{ parts }}"]
"""
TOLD = """
name: Told
input_variables: {n: {type: integer}}
tasks:
  - {name: big, type: python_task, script: "return 'x' * n"}
  - {name: ask, type: llm_task, model: offline/echo, prompt: "Sum up {{ big }}"}
"""
INNER = """
name: Inner
timeout: 1 minute
input_variables: {n: {type: integer}}
tasks:
  - {name: big, type: python_task, script: "return 'x' * n"}
"""
OUTER = """
name: Outer
timeout: 3 days
input_variables: {n: {type: integer}}
tasks:
  - {name: inner, type: pipeline_group, pipeline: inner.yaml, inputs: {n: "{{ n }}"}}
  - {name: count, type: python_task, script: "return len(inner)"}
output: ["{{ count }}", "{{ inner }}"]
"""
TEXTS = {"chain": CHAIN, "group": GROUP, "told": TOLD, "inner": INNER, "outer": OUTER}


class Site:
    """Workers that share a folder of values."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker, self.folder, self.workers = broker, folder, list[Worker]()
        for name, text in TEXTS.items():
            (folder / f"{name}.yaml").write_text(text)

    async def start(self, *served: str, threshold: str = "1MB") -> Worker:
        variables = {"URL": str(self.folder / "blobs"), "THRESHOLD": threshold}
        config = from_environ({f"STREAM_ORCHESTRATOR__BLOBS__{name}": value for name, value in variables.items()})
        plans = [load_plan(self.folder / f"{name}.yaml") for name in served]
        settings = WorkerSettings(
            stream=self.broker.settings, prefix=self.broker.prefix, partitions=2, offline=True, config=config
        )
        worker = Worker(settings, plans)
        self.workers.append(worker)
        await worker.start()
        return worker

    async def close(self) -> None:
        for worker in self.workers:
            await worker.close()

    async def send(self, pipeline: str, **payload: Any) -> None:
        record = Outgoing(orjson.dumps(payload), headers=(("run-id", b"run"),))
        await produce(self.broker.settings, names.input_topic(self.broker.prefix, pipeline), [record])

    async def result(self, pipeline: str) -> dict[str, Any]:
        topic = names.results_topic(self.broker.prefix, pipeline)

        async def look() -> dict[str, Any] | None:
            records = await read_all(self.broker.settings, topic)
            assert len({record.value for record in records}) < 2, "copies differ"
            return dict(orjson.loads(records[0].value or b"")) if records else None

        return dict(await until(look))


async def until(look: Callable[[], Awaitable[Any]], within: float = 90.0) -> Any:
    give_up = time.monotonic() + within
    while (found := await look()) is None:
        assert time.monotonic() < give_up, "it did not come"
        await asyncio.sleep(0.1)
    return found


def value_of(claim: Any) -> Any:
    """What a claim check stands for, as a user's platform reads it."""
    assert is_claim(claim), claim
    body = Path(urlsplit(claim[KEY]["uri"]).path).read_bytes()
    assert (len(body), hashlib.sha256(body).hexdigest()) == (claim[KEY]["bytes"], claim[KEY]["sha256"])
    return orjson.loads(body)


async def test_fifty_megabytes_go_through_three_scripts_and_stay_out_of_every_record(
    embedded: Broker, tmp_path: Path
) -> None:
    site = Site(embedded, tmp_path)
    try:
        await site.start("chain")
        await site.send("chain", letter="y")
        result = await site.result("chain")
    finally:
        await site.close()
    assert result["error"] is None
    assert result["output"]["told"] == [SIZE, True, "yz", SIZE]
    assert result["output"]["n"] == SIZE
    assert value_of(result["output"]["made"]) == "y" * SIZE
    assert len(orjson.dumps(result)) < 5_000


async def test_what_many_children_give_comes_together_and_is_gone_through(embedded: Broker, tmp_path: Path) -> None:
    site = Site(embedded, tmp_path)
    try:
        await site.start("group", threshold="50kB")
        await site.send("group", n=5)
        result = await site.result("group")
    finally:
        await site.close()
    assert result["error"] is None
    sums, lengths, parts = result["output"]
    assert (sums, lengths) == ([50_000 * n for n in range(5)], [50_000] * 5)
    assert [value_of(part) for part in parts] == [[n] * 50_000 for n in range(5)]


async def test_a_prompt_never_holds_a_claim_check(embedded: Broker, tmp_path: Path) -> None:
    site = Site(embedded, tmp_path)
    try:
        await site.start("told")
        await site.send("told", n=2_000_000)
        result = await site.result("told")
    finally:
        await site.close()
    assert (result["status"], result["error"]["type"], result["error"]["task"]) == ("failed", "TooLarge", "ask")
    assert "python_task" in result["error"]["message"]
    assert result["usage"]["calls"] == 0


async def test_a_value_of_another_pipeline_is_kept_as_long_as_somebody_waits_for_it(
    embedded: Broker, tmp_path: Path
) -> None:
    site = Site(embedded, tmp_path)
    try:
        await site.start("inner", "outer")
        await site.send("outer", n=2_000_000)
        result = await site.result("outer")
    finally:
        await site.close()
    assert result["error"] is None
    count, inner = result["output"]
    assert (count, value_of(inner)) == (2_000_000, "x" * 2_000_000)
    hour = Path(urlsplit(inner[KEY]["uri"]).path).parent.name
    assert hour >= time.strftime("%Y%m%d%H", time.gmtime(time.time() + 3 * 86_400)), "three days, not one minute"


async def test_a_worker_that_dies_between_store_and_record_loses_nothing(embedded: Broker, tmp_path: Path) -> None:
    site = Site(embedded, tmp_path)
    try:
        first = await site.start("inner")
        kept, go_on = asyncio.Event(), threading.Event()
        loop, put = asyncio.get_running_loop(), first._blobs.put  # type: ignore[union-attr]

        def put_and_stop(place: str, body: bytes) -> None:
            put(place, body)
            loop.call_soon_threadsafe(kept.set)
            go_on.wait(30)

        first._blobs.put = put_and_stop  # type: ignore[union-attr, method-assign]
        await site.send("inner", n=2_000_000)
        await asyncio.wait_for(kept.wait(), 60)
        site.workers.remove(first)
        await first.close()
        go_on.set()
        await site.start("inner")
        result = await site.result("inner")
    finally:
        await site.close()
    assert value_of(result["output"]) == "x" * 2_000_000
    assert len([path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]) == 1
