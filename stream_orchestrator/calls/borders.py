"""Before anything starts: what leaves this machine goes where the pipelines say it may, and not in plain text.

Promises
  * `data_residency`: every service that a pipeline may ask has a region, and it is the pipeline's. One whose region
    nobody has said is refused: nobody knows where it is.
  * `encryption_in_transit`: an address without TLS is refused.
  * `encryption_at_rest` without a key, and `budget_limit`, which this version does not keep by itself, are refused
    where they would be broken.
  * This machine is exempt from the first two: the embedded broker, the offline models, services on loopback. Scripts
    that open connections of their own are not seen here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.calls.settings import CallSettings
from stream_orchestrator.errors import MissingError
from stream_orchestrator.plan.model import Plan
from stream_orchestrator.plan.models import SERVICES
from stream_orchestrator.trust.addresses import is_plain, is_this_machine
from stream_orchestrator.trust.sealing import SETTING

HERE = frozenset({"offline", "files"})  # services that are no other machine
REGION = "STREAM_ORCHESTRATOR__CALLS__REGIONS__"
PROTOCOL = "STREAM_ORCHESTRATOR__KAFKA__SECURITY_PROTOCOL"
DISKS = "STREAM_ORCHESTRATOR__KAFKA__ENCRYPTED_DISKS"
BUDGETS = "STREAM_ORCHESTRATOR__CALLS__BUDGETS"
Lack = tuple[str, str]  # what is wrong, and what to do


def refuse_crossings(
    plans: Iterable[Plan],
    calls: CallSettings,
    services: ServiceSettings,
    *,
    plain_brokers: Iterable[str] = (),
    stores: bool = False,
) -> None:
    """MissingError that names every promise that would be broken. `plain_brokers`: brokers reached without TLS;
    `stores`: a broker writes what nobody seals to disks of which nobody has said that they are encrypted.
    """
    brokers = tuple(plain_brokers)
    found = [
        lack
        for plan in plans
        for lack in (
            *_strangers(plan, calls, services),
            *_plain(plan, calls, services, brokers),
            *_unkept(plan, calls, services, stores=stores),
        )
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


def _unkept(plan: Plan, calls: CallSettings, services: ServiceSettings, *, stores: bool) -> Iterator[Lack]:
    """Promises that this version cannot keep by itself: nobody shall believe that it does."""
    if plan.guards.at_rest and stores:
        said = f"{plan.title!r} wants `encryption_at_rest`, and events would stand in plain text in topics and tables"
        key = f"set {SETTING} to 32 bytes in base64, the same on every worker (openssl rand -base64 32)"
        yield said, f"{key}, or encrypt the broker's disks and set {DISKS}=true"
    spends = any(service in SERVICES for service in _asked(plan, calls, services))
    if plan.guards.budget and spends and calls.budgets == "refuse":
        said = f"{plan.title!r} has a budget of {plan.guards.budget}, and nothing would stop the spending"
        yield said, f"set {BUDGETS}=unkept to start all the same and watch `cost` in the results, or use --offline"


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
