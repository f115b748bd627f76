"""Before anything starts: what leaves this machine goes where the pipelines say it may, and not in plain text.

Promises
  * `data_residency`: every service that a pipeline may ask has a region, and it is the pipeline's. One whose region
    nobody has said is refused: nobody knows where it is.
  * `encryption_in_transit`: an address without TLS is refused.
  * This machine is exempt from both: the embedded broker, the offline models, services on loopback. Scripts that open
    connections of their own are not seen here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.calls.settings import CallSettings
from stream_orchestrator.errors import MissingError
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.plan.models import SERVICES
from stream_orchestrator.trust.addresses import is_plain, is_this_machine

HERE = frozenset({"offline", "files"})  # services that are no other machine
REGION = "STREAM_ORCHESTRATOR__CALLS__REGIONS__"
PROTOCOL = "STREAM_ORCHESTRATOR__KAFKA__SECURITY_PROTOCOL"
Lack = tuple[str, str]  # what is wrong, and what to do


def refuse_crossings(
    plans: Iterable[Plan],
    calls: CallSettings,
    services: ServiceSettings,
    *,
    plain_brokers: Iterable[str] = (),
) -> None:
    """MissingError that names every border that would be crossed. `plain_brokers`: brokers reached without TLS."""
    brokers = tuple(plain_brokers)
    found = [
        lack for plan in plans for lack in (*_strangers(plan, calls, services), *_plain(plan, calls, services, brokers))
    ]
    if found:
        said, hints = zip(*dict.fromkeys(found), strict=True)
        raise MissingError("; ".join(said), hint="\n".join(dict.fromkeys(hints)))


def _strangers(plan: Plan, calls: CallSettings, services: ServiceSettings) -> Iterator[Lack]:
    wanted = plan.guards.residency
    for service, address in _asked(plan, calls, services).items() if wanted else ():
        region = calls.regions.get(service, "").strip().upper()
        if region == wanted or is_this_machine(address):
            continue
        said = f"it is in {region}" if region else "nobody has said where it is"
        hint = f"set {REGION}{service.upper()} to its region, or answer every model here: --offline"
        yield f"{plan.title!r} may only ask services in {wanted}, and it asks `{service}`: {said}", hint


def _plain(plan: Plan, calls: CallSettings, services: ServiceSettings, brokers: tuple[str, ...]) -> Iterator[Lack]:
    if not plan.guards.tls:
        return
    why = f"{plan.title!r} wants `encryption_in_transit`"
    for broker in brokers:
        yield f"{why}, and the broker {broker} is reached without TLS", f"set {PROTOCOL}=SSL (or SASL_SSL)"
    for service, address in _asked(plan, calls, services).items():
        if is_plain(address):
            yield f"{why}, and `{service}` is asked at {address}", "give its address with https://"


def _asked(plan: Plan, calls: CallSettings, services: ServiceSettings) -> Mapping[str, str]:
    """The services of other machines that a plan may ask, and their addresses where settings say them."""
    if calls.offline or services.offline:
        return {}
    others = {"search": services.search_url, "email": services.smtp.host if services.smtp else ""}
    return {
        service: calls.base_url_of(service) if service in SERVICES else others.get(service, "")
        for service in plan.services
        if service not in HERE
    }
