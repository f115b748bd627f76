"""State on a broker: it outlives workers, two workers agree, breakers are moved by hand, progress is seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.broker import Broker

from stream_orchestrator.cli.main import main
from stream_orchestrator.plan import names
from stream_orchestrator.plan.loading import load_plan
from stream_orchestrator.streaming.breakers import breakers, move, progress
from stream_orchestrator.streaming.client import Outgoing, produce, read_all
from stream_orchestrator.streaming.serving import WorkerSettings
from stream_orchestrator.streaming.worker import Worker

KEEPER = """
name: Keeper
input_variables: {do: {type: string}, n: {type: integer, default: 0}}
tasks:
  - name: keep
    type: python_task
    condition: "do == 'keep'"
    script: |
      context.set_persistent_state("n", n)
      context.set_shared_state("n", n * 10)
      return n
  - name: read
    type: python_task
    condition: "do == 'read'"
    script: return [context.get_persistent_state("n"), context.get_pipeline_output("Reader", "nothing")]
  - name: rate
    type: python_task
    condition: "do in ['rate', 'fail']"
    script: |
      assert do == "rate", "as told"
      return context.get_error_rate()
  - name: guarded
    type: python_task
    condition: "do == 'guarded'"
    error_handling:
      circuit_breaker: {name: api, failure_threshold: 2, recovery_timeout: 1 hour}
      fallback_value: stand-in
    script: return "itself"
  - name: slow
    type: python_task
    condition: "do == 'slow'"
    script: |
      import time
      context.update_progress(0.25, "a quarter")
      time.sleep(4)
output: "{{ keep | default(read | default(rate | default(guarded | default(0, false)))) }}"
"""
READER = """
name: Reader
tasks:
  - {name: look, type: python_task, script: "return context.get_shared_state('n', 'nothing')"}
"""


class Site:
    """Workers of one prefix in this process, and their users."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker, self.workers = broker, list[Worker]()
        self.plans = {}
        for name, text in (("keeper", KEEPER), ("reader", READER)):
            (folder / f"{name}.yaml").write_text(text)
            self.plans[name] = load_plan(folder / f"{name}.yaml")

    async def start(self, *served: str) -> Worker:
        settings = WorkerSettings(stream=self.broker.settings, prefix=self.broker.prefix, partitions=2, offline=True)
        worker = Worker(settings, [self.plans[name] for name in served])
        self.workers.append(worker)
        await worker.start()
        return worker

    async def stop(self, worker: Worker) -> None:
        self.workers.remove(worker)
        assert await worker.drain()

    async def close(self) -> None:
        for worker in self.workers:
            await worker.close()

    async def send(self, pipeline: str, payload: dict[str, Any], run: str) -> None:
        record = Outgoing(orjson.dumps(payload), headers=(("run-id", run.encode()),))
        await produce(self.broker.settings, names.input_topic(self.broker.prefix, pipeline), [record])

    async def ask(self, pipeline: str, run: str, **payload: Any) -> dict[str, Any]:
        """The result of one event."""
        await self.send(pipeline, payload, run)
        topic = names.results_topic(self.broker.prefix, pipeline)

        async def result() -> dict[str, Any] | None:
            for record in await read_all(self.broker.settings, topic):
                if record.header("run-id") == run.encode():
                    return dict(orjson.loads(record.value or b""))
            return None

        return dict(await until(result))


async def until(look: Callable[[], Awaitable[Any]], within: float = 40.0) -> Any:
    give_up = time.monotonic() + within
    while (found := await look()) is None:
        assert time.monotonic() < give_up, "it did not come"
        await asyncio.sleep(0.1)
    return found


async def test_state_outlives_its_worker_and_crosses_pipelines_and_workers(broker: Broker, tmp_path: Path) -> None:
    site = Site(broker, tmp_path)
    try:
        first, _ = await asyncio.gather(site.start("keeper"), site.start("reader"))
        assert (await site.ask("keeper", "k1", do="keep", n=4))["status"] == "succeeded"
        await asyncio.sleep(1.0)  # what a copy may be old
        assert (await site.ask("reader", "r1"))["output"] == 40
        assert (await site.ask("keeper", "k2", do="read"))["output"] == [4, 40]
        await site.stop(first)
        await site.start("keeper")
        assert (await site.ask("keeper", "k3", do="read"))["output"] == [4, 40]
        assert (await site.ask("keeper", "k4", do="fail"))["status"] == "failed"
        await asyncio.sleep(1.0)
        assert (await site.ask("keeper", "k5", do="rate"))["output"] == 0.25
    finally:
        await site.close()


async def test_breakers_are_moved_by_hand_and_progress_is_seen_while_a_script_runs(
    broker: Broker, tmp_path: Path
) -> None:
    site = Site(broker, tmp_path)
    settings, prefix, plan = broker.settings, broker.prefix, site.plans["keeper"]

    async def state(wanted: str) -> bool | None:
        (found,) = await breakers(settings, prefix, "keeper", [plan])
        return True if found.row.state(time.time()) == wanted else None

    try:
        await site.start("keeper")
        assert (await site.ask("keeper", "g1", do="guarded"))["output"] == "itself"
        await move(settings, prefix, await breakers(settings, prefix, "keeper", [plan]), "open")
        await until(lambda: state("open"))
        await asyncio.sleep(1.0)
        held = await site.ask("keeper", "g2", do="guarded")
        assert (held["output"], held["status"]) == ("stand-in", "degraded")
        assert "'api' is open" in held["degraded"][0]["reason"]
        await move(settings, prefix, await breakers(settings, prefix, "keeper", [plan]), "close")
        await until(lambda: state("closed"))
        await asyncio.sleep(1.0)
        assert (await site.ask("keeper", "g3", do="guarded"))["output"] == "itself"

        await site.send("keeper", {"do": "slow"}, "s1")

        async def told() -> dict[str, Any] | None:
            return (await progress(settings, prefix, "keeper")).get("s1/slow")

        assert await until(told) == {"share": 0.25, "message": "a quarter"}
    finally:
        await site.close()


async def test_the_commands_list_open_and_close_and_say_what_is_not_there(
    broker: Broker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    site = Site(broker, tmp_path)

    async def call(*arguments: str) -> tuple[int, str, str]:
        scheme = "embedded" if broker.settings.embedded else "kafka"
        where = ("--broker", f"{scheme}://{broker.settings.bootstrap}", "--prefix", broker.prefix)
        capfd.readouterr()
        code = await asyncio.to_thread(main, [*arguments, *where])
        return code, *capfd.readouterr()

    try:
        await site.start("keeper")
        code, out, _ = await call("breakers", "list", "keeper", "--json")
        (shown,) = orjson.loads(out)["breakers"]
        assert (code, shown["name"], shown["state"], shown["failure_threshold"]) == (0, "api", "closed", 2)
        code, out, err = await call("breakers", "open", "keeper", "api", "--json")
        (shown,) = orjson.loads(out)["breakers"]
        assert (code, shown["state"], shown["by_hand"]) == (0, "open", True)
        assert "1 opened: api" in err
        code, _, err = await call("breakers", "close", "keeper", "apy")
        assert (code, "no breaker `apy`" in err, "it has: api" in err) == (2, True, True)
        code, _, err = await call("breakers", "close", "keeper", "--all")
        assert (code, "1 closed: api" in err) == (0, True)
        code, _, err = await call("breakers", "open", "keeper")
        assert (code, "name the breakers, or --all" in err) == (2, True)
    finally:
        await site.close()
