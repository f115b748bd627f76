"""The call service: asks one model, or another service, once.

Promises
  * `attempt` makes exactly one attempt, ends by the request's deadline, and never raises for what a service does: every
    way to fail is an `Answer` with an `error_type`.
  * No message holds a key.
  * At most `max_in_flight` attempts are under way; the others wait, and waiting counts against their deadline.
Cancelling an attempt closes its connection; what it had sent may be carried out all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from msgspec.structs import replace

from stream_orchestrator.calls import anthropic, faults, offline, openai, prices
from stream_orchestrator.calls.faults import BadBody, Reply, fault
from stream_orchestrator.calls.routing import service_of
from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.calls.services import Services
from stream_orchestrator.calls.settings import CallSettings, key_variable, needs_key
from stream_orchestrator.calls.turns import acquire
from stream_orchestrator.calls.wire import Wire
from stream_orchestrator.kernel.effects import Answer, CallRequest, Request, ServiceRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stream_orchestrator.calls.http import Http

WIRES: dict[str, Wire] = {"openai": openai, "anthropic": anthropic}
# For a request without a deadline: longer than any answer, shorter than a night.
LONGEST = 600.0


class CallService:
    """One per worker. `wall` is the clock of deadlines (UNIX seconds); `services` answer what asks no model."""

    def __init__(
        self, settings: CallSettings, *, services: Services | None = None, wall: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self._services = services or Services(ServiceSettings(offline=settings.offline))
        self._wall = wall
        self._slots = asyncio.Semaphore(settings.max_in_flight)
        self._http: Http | None = None
        self._prices: asyncio.Task[None] | None = None

    async def attempt(self, request: Request, *, call_id: str = "") -> Answer:
        """Ask once. `call_id` goes with the request as `x-call-id`, for the service's log and ours."""
        started = time.monotonic()
        left = min(request.deadline - self._wall(), LONGEST) if request.deadline else LONGEST
        deadline = asyncio.get_running_loop().time() + left
        answer = await self._in_a_slot(request, call_id, deadline)
        if request.on_ambiguous == "fail":
            answer = faults.unrepeatable(answer)
        return replace(answer, seconds=time.monotonic() - started, message=self.settings.mask(answer.message))

    async def close(self) -> None:
        """Close all connections. Attempts under way must have ended."""
        if self._prices is not None:
            await self._prices
        if self._http is not None:
            await self._http.close()
        await self._services.close()

    async def _in_a_slot(self, request: Request, call_id: str, deadline: float) -> Answer:
        try:
            if deadline <= asyncio.get_running_loop().time():
                raise TimeoutError  # a connection that is open would take it before any clock could stop it
            await acquire(self._slots, deadline)
        except TimeoutError:
            return fault("timeout", "its deadline passed before it could be sent", retryable=True)
        try:
            if isinstance(request, ServiceRequest):
                return await self._services.attempt(request, call_id=call_id, deadline=deadline, wall=self._wall())
            if self.settings.offline or service_of(request.model) == "offline":
                return await self._offline(request, deadline)
            return await self._online(request, call_id, deadline)
        finally:
            self._slots.release()

    async def _offline(self, request: CallRequest, deadline: float) -> Answer:
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.sleep(offline.delay(request.model))
        except TimeoutError:
            return fault("timeout", f"{request.model} did not answer in time", retryable=True, ambiguous=True)
        return offline.answer(request)

    async def _online(self, request: CallRequest, call_id: str, deadline: float) -> Answer:
        service = service_of(request.model)
        if needs_key(service, self.settings):
            variable = key_variable(service)
            return fault("missing_key", f"no key for model {request.model}: set {variable}, or run with --offline")
        known = self._load_prices()
        answer = await self._exchange(service, request, call_id, deadline)
        await asyncio.shield(known)
        return replace(answer, usd=self._cost(request.model, answer))

    async def _exchange(self, service: str, request: CallRequest, call_id: str, deadline: float) -> Answer:
        from stream_orchestrator.calls.http import NoReply

        wire = WIRES[service]
        try:
            outgoing = wire.build(request, self.settings)
        except (KeyError, TypeError, ValueError) as error:
            return fault("bad_request", f"the request cannot be written for {service}: {error}")
        headers = outgoing.headers | ({"x-call-id": call_id} if call_id else {})
        try:
            reply = await self._opened().post(outgoing.url, headers=headers, body=outgoing.body, deadline=deadline)
        except NoReply as error:
            ambiguous = error.sent and error.failure in {"timeout", "disconnected"}
            retryable = error.failure != "too_large"
            return fault(error.failure, f"{service}: {error}", retryable=retryable, ambiguous=ambiguous)
        return self._answer_in(reply, wire, service=service, request=request)

    def _answer_in(self, reply: Reply, wire: Wire, *, service: str, request: CallRequest) -> Answer:
        if not 200 <= reply.status < 300:
            return faults.of_status(reply, service=service, now=self._wall())
        try:
            return wire.parse(reply, request)
        except BadBody as error:
            return faults.bad_answer(service, str(error))

    def _cost(self, asked: str, answer: Answer) -> float:
        """By the name that was asked for; by the one that answered when only that has a price (a gateway's alias)."""
        overrides = self.settings.prices
        model = asked if prices.known(asked, overrides=overrides) else answer.model
        return prices.cost(model, answer.input_tokens, answer.output_tokens, overrides=overrides)

    def _load_prices(self) -> asyncio.Task[None]:
        """Once, in a thread, while the first request is under way."""
        if self._prices is None:
            self._prices = asyncio.create_task(asyncio.to_thread(prices.load))
        return self._prices

    def _opened(self) -> Http:
        if self._http is None:
            from stream_orchestrator.calls.http import Http  # 0.1 s that offline work does not need

            settings = self.settings
            self._http = Http(
                connect_timeout=settings.connect_timeout,
                first_byte_timeout=settings.first_byte_timeout,
                max_body=settings.max_body_bytes,
            )
        return self._http
