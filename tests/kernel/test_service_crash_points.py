"""Crash between every two effects of a run that asks services: the request that is sent holds no secret, what is done
outside is done once for its key, and a call that may not be made again is not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
import pytest
from house import House
from worlds import plan

from stream_orchestrator.calls.provider import Job
from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.calls.services import Services
from stream_orchestrator.kernel.effects import Answer, ServiceRequest
from stream_orchestrator.kernel.memory import World
from stream_orchestrator.plan.model import START, Plan, Variant
from stream_orchestrator.plan.services import SERVICE_OF_KIND
from stream_orchestrator.tasks import KINDS
from stream_orchestrator.trust.secrets import Secrets

SECRET = "tok-123456"


def service(
    name: str, kind: str, *upstream: str, on_ambiguous: Literal["retry", "fail"] = "retry", **options: Any
) -> Any:
    variant = Variant(name=name, kind=kind, options=options, timeout=60.0, retries=1, on_ambiguous=on_ambiguous)
    return {"name": name, "upstream": upstream or (START,), "variants": (variant,)}


def chain(on_ambiguous: Literal["retry", "fail"] = "retry") -> Plan:
    api = {"url": "https://a.example", "method": "POST", "auth": {"bearer": "{{ secret('token') }}"}}
    return plan(
        service("page", "web_scraping_task", url="https://a.example/{{ n }}"),
        service("order", "api_task", "page", json={"of": "{{ page.n }}"}, on_ambiguous=on_ambiguous, **api),
        service("kept", "database_task", "order", connection="db", query="INSERT", parameters={"x": "{{ order.n }}"}),
    )


@dataclass
class Shop:
    """Services that do what they are asked each time, as real ones do, and remember it by its key."""

    flaky: bool = False
    made: Counter[str] = field(default_factory=Counter)
    effects: dict[str, str] = field(default_factory=dict)
    asked: dict[str, set[bytes]] = field(default_factory=dict)
    number: int = 0
    secrets_seen: int = 0
    real: Services = field(
        default_factory=lambda: Services(ServiceSettings(), secrets=Secrets(environ={"TOKEN": SECRET}))
    )

    async def attempt(self, request: ServiceRequest, call_id: str) -> Answer:
        assert isinstance(request, ServiceRequest)
        self.made[call_id] += 1
        said = orjson.dumps([request.operation, request.options, request.secrets, request.key])
        self.asked.setdefault(call_id, set()).add(said)
        self.effects.setdefault(request.key, request.service)
        if self.flaky and request.service == "api" and len(self.asked) == 2 and self.made[call_id] == 1:
            return Answer(error_type="timeout", message="no answer", retryable=True, ambiguous=True)
        self.number = list(self.effects).index(request.key)
        for each in SERVICE_OF_KIND.values():
            self.real._providers[each] = self
        return await self.real.attempt(request, call_id=call_id, deadline=1e12, wall=0.0)

    async def do(self, job: Job) -> dict[str, Any]:
        """An answer that quotes all that came, the secret too."""
        auth = job.options.get("auth") or {}
        self.secrets_seen += auth.get("bearer") == SECRET
        return {"n": self.number, "quoted": job.options}

    async def close(self) -> None:
        """Nothing is open."""


def house(made: Plan, shop: Shop) -> House:
    made_house = House(made, world=World(), kinds=KINDS, service=shop)
    made_house.send(b'{"n": 1}', run_id="run-1")
    return made_house


@pytest.mark.parametrize("flaky", [False, True])
async def test_each_effect_is_one_wherever_the_process_dies(flaky: bool) -> None:
    calm = house(chain(), Shop(flaky))
    steps = await calm.play()
    (wanted,) = {record.value for record in calm.records}
    for crash_at in range(1, steps + 1):
        shop = Shop(flaky)
        struck = house(chain(), shop)
        await struck.play(crash_at={crash_at})
        where = f"crash before effect {crash_at} of {steps}"
        results = [orjson.loads(value) for value in {record.value for record in struck.records}]
        assert [each["status"] for each in results] == ["succeeded"], where
        assert results[0]["output"] == orjson.loads(wanted or b"")["output"], where
        assert sorted(shop.effects.values()) == ["api", "database", "web"], f"{where}: an effect has two keys"
        assert all(len(said) == 1 for said in shop.asked.values()), f"{where}: one call id was asked two things"
        assert max(shop.made.values()) <= 2, f"{where}: one crash, at most one repetition"
        assert shop.secrets_seen, where
        for topic, records in struck.world.topics.items():
            assert not any(SECRET.encode() in (record.value or b"") for record in records), topic


async def test_a_call_that_may_not_be_repeated_is_made_once_wherever_the_process_dies() -> None:
    steps = await house(chain("fail"), Shop()).play()
    failed = 0
    for crash_at in range(1, steps + 1):
        shop = Shop()
        struck = house(chain("fail"), shop)
        await struck.play(crash_at={crash_at})
        orders = sum(count for call, count in shop.made.items() if b"POST" in next(iter(shop.asked[call])))
        assert orders <= 1, f"crash before effect {crash_at}"
        (result,) = [orjson.loads(value) for value in {record.value for record in struck.records}]
        failed += result["status"] == "failed"
        assert result["status"] == "succeeded" or result["error"]["type"] == "ambiguous", result["error"]
    assert failed, "somewhere between its request and its answer nobody knew, and nobody asked again"
