"""The services that are no models: one list. A provider's module, and the libraries it needs, load when it is made."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from stream_orchestrator.calls.provider import Provider
from stream_orchestrator.calls.service_settings import PREFIX, SMTP_EXAMPLE, ServiceSettings
from stream_orchestrator.trust.secrets import Secrets

_MODULES = {
    "web": ("web", "Web"),
    "search": ("search", "Search"),
    "api": ("api", "Api"),
    "files": ("files", "Files"),
    "database": ("database", "Database"),
    "email": ("email", "Email"),
}
# Offline these are not asked. A database may be a file: its provider looks.
NETWORKED = frozenset({"web", "search", "api", "email"})
# The packages a service needs, and the extra that brings them.
_NEEDS = {"web": (("selectolax", "pypdf", "protego"), "web"), "database": (("sqlalchemy",), "database")}


def make(service: str, settings: ServiceSettings, secrets: Secrets) -> Provider:
    """A service's provider."""
    module, name = _MODULES[service]
    cls = getattr(import_module(f"stream_orchestrator.calls.{module}"), name)
    made: Provider = cls(settings, secrets) if service == "database" else cls(settings)
    return made


def needs_of(services: tuple[str, ...], settings: ServiceSettings) -> list[tuple[str, str]]:
    """What these services need and this worker has not: what it is, and what to do. Offline, only what is used."""
    found = []
    for service in services:
        if settings.offline and service in NETWORKED:
            continue
        packages, extra = _NEEDS.get(service, ((), ""))
        if missing := [package for package in packages if find_spec(package) is None]:
            found.append((f"{' and '.join(missing)} must be installed", f"pip install 'stream-orchestrator[{extra}]'"))
        if (name := _unset(service, settings)) is not None:
            found.append((f"{PREFIX}{name[0]} must be set", name[1]))
    return found


def _unset(service: str, settings: ServiceSettings) -> tuple[str, str] | None:
    match service:
        case "search" if not settings.search_url:
            return "SEARCH__URL", "the address of a SearXNG, for example https://searx.example"
        case "files" if not settings.file_roots:
            return (
                "FILES__ROOTS",
                "the folders that `file_task` may use, for example /srv/data",
            )
        case "email" if settings.smtp is None:
            return "EMAIL__SMTP_URL", f"the mail server, for example {SMTP_EXAMPLE}"
    return None
