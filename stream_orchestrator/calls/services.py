"""Services that are no models: their secrets are filled in here, and every way to fail becomes an `Answer`.

Promises
  * An attempt ends by its deadline and never raises for what a service, or a bug in its provider, does.
  * A secret is read when it is used, and is in no answer: what comes back is masked. Of an address that is made of a
    secret no message names a part, as its host.
  * A value that no record can hold is a fault, not a worker that fails.
  * Offline, what needs the network is the fault `Offline`, and nothing is sent.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from stream_orchestrator.calls.faults import MESSAGE_LIMIT
from stream_orchestrator.calls.provider import Job, Provider, ServiceFault
from stream_orchestrator.calls.providers import NETWORKED, make
from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.kernel.effects import Answer, ServiceRequest
from stream_orchestrator.kernel.limits import excerpt, misfit
from stream_orchestrator.trust.masking import Masker
from stream_orchestrator.trust.secrets import Secrets

ENV = "env:"
SHORTEST_PART = 2  # of a secret that an address is made of; one letter of it tells nothing, and hiding it all else
_CUTS = re.compile(r"[\s/\\?#@:]+")
_SCHEMES = frozenset({"http", "https"})

log = logging.getLogger(__name__)


class Services:
    """The providers of one worker, each made when it is first needed."""

    def __init__(self, settings: ServiceSettings, *, secrets: Secrets | None = None) -> None:
        self._settings = settings
        self._secrets = secrets or Secrets()
        self._providers: dict[str, Provider] = {}

    async def attempt(self, request: ServiceRequest, *, call_id: str, deadline: float, wall: float) -> Answer:
        """Make one attempt. `deadline` is on the loop's clock; `wall` is now, in UNIX seconds."""
        masker, parts = Masker(), Masker(shortest=SHORTEST_PART)
        try:
            self._refuse_offline(request)
            job = self._job(request, masker, parts, call_id=call_id, deadline=deadline, wall=wall)
            async with asyncio.timeout_at(deadline):
                value = masker.value(await self._provider(request.service).do(job))
        except ServiceFault as error:
            return _answer(error, masker, parts)
        except TimeoutError:
            return _answer(
                ServiceFault("timeout", _LATE.format(request.asks), retryable=True, ambiguous=True), masker, parts
            )
        except Exception as error:  # the task fails and says so; the worker goes on with other work
            log.exception("the service %s failed at call %s", request.asks, call_id)
            said = f"the service {request.asks} failed: {type(error).__name__}"
            return _answer(ServiceFault("ServiceFailed", said, ambiguous=True), masker, parts)
        unfit = misfit(value, f"what {request.asks} gave")
        if unfit is not None:
            return _answer(ServiceFault(_WORDS.get(unfit.type, "bad_answer"), unfit.message), masker, parts)
        return Answer(value=value)

    async def close(self) -> None:
        """Give back what providers hold open."""
        for provider in self._providers.values():
            await provider.close()

    def _provider(self, service: str) -> Provider:
        if service not in self._providers:
            self._providers[service] = make(service, self._settings, self._secrets)
        return self._providers[service]

    def _refuse_offline(self, request: ServiceRequest) -> None:
        if self._settings.offline and request.service in NETWORKED:
            raise ServiceFault("Offline", offline_message(request.service))

    def _job(
        self, request: ServiceRequest, masker: Masker, parts: Masker, *, call_id: str, deadline: float, wall: float
    ) -> Job:
        values = {mark: self._value_of(name) for mark, name in request.secrets.items()}
        for value in values.values():
            masker.add(value)
        for part in _parts_of_addresses(request.options.get("url"), values):
            parts.add(part)
        return Job(
            operation=request.operation,
            options=_filled(request.options, values) if values else request.options,
            call_id=call_id,
            key=request.key or call_id,
            deadline=deadline,
            wall=wall,
            masker=masker,
        )

    def _value_of(self, name: str) -> str:
        variable = name.removeprefix(ENV)
        found = self._secrets.variable(variable) if name.startswith(ENV) else self._secrets.get(name)
        if found is None:
            said = f"{variable} is not set" if name.startswith(ENV) else self._secrets.missing(name)
            raise ServiceFault("missing_secret", said)
        return found


_LATE = "{} did not answer in time"
_WORDS = {"TooLarge": "too_large"}


def offline_message(service: str) -> str:
    """Why nothing was asked, and what to do."""
    return f"offline, the service `{service}` is not asked: run without --offline, or give an answer for it in a test"


def _filled(value: Any, secrets: Mapping[str, str]) -> Any:
    """The options with every mark replaced by its secret. What a secret holds is not looked at again."""
    if isinstance(value, str):
        return _replaced(value, secrets)
    if isinstance(value, dict):
        return {key: _filled(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, secrets) for item in value]
    return value


def _replaced(text: str, secrets: Mapping[str, str]) -> str:
    for mark, secret in secrets.items():
        text = text.replace(mark, secret)
    return text


def _parts_of_addresses(url: Any, secrets: Mapping[str, str]) -> Iterator[str]:
    """What an address cuts its secrets into, as its parts are named in messages: hosts are in lower case there."""
    inside = [secret for mark, secret in secrets.items() if mark in str(url)]
    parts = {part for secret in inside for said in (secret, unquote(secret)) for part in _CUTS.split(said)}
    for part in parts - _SCHEMES:
        yield from (part, part.lower())


def _answer(error: ServiceFault, masker: Masker, parts: Masker) -> Answer:
    return Answer(
        error_type=error.error_type,
        message=excerpt(parts.text(masker.text(str(error))), MESSAGE_LIMIT),
        retryable=error.retryable,
        ambiguous=error.ambiguous,
        retry_after=error.retry_after,
    )
