"""What services that are no models need to know of their surroundings. No secret is shown: not in a repr."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stream_orchestrator.errors import UsageError
from stream_orchestrator.spec import settings
from stream_orchestrator.spec.config import Configuration, from_environ
from stream_orchestrator.trust.addresses import AddressGuard, is_this_machine

PREFIX = "STREAM_ORCHESTRATOR__"
SMTP_EXAMPLE = "smtp://user:password@mail.example:587"


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail goes. `tls`: from the first byte (`smtps`), or by STARTTLS, or not at all (only on loopback)."""

    host: str
    port: int
    tls: str  # "smtps" | "starttls" | "none"
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """Addresses and bounds of services. `offline`: nothing that needs the network is done."""

    guard: AddressGuard = field(default_factory=AddressGuard)
    offline: bool = False
    connect_timeout: float = 10.0
    search_url: str = ""
    file_roots: tuple[Path, ...] = ()
    smtp: SmtpServer | None = None
    email_from: str = ""

    @classmethod
    def of(cls, config: Configuration, *, offline: bool = False) -> ServiceSettings:
        """What the settings of a process say. What cannot be meant is a `UsageError`."""
        email = config.section(settings.Email)
        return cls(
            guard=AddressGuard.of(config.section(settings.Fetch).allowed_hosts),
            offline=offline,
            connect_timeout=config.section(settings.Calls).connect_timeout,
            search_url=config.section(settings.Search).url or "",
            file_roots=tuple(map(_root, config.section(settings.Files).roots)),
            smtp=_smtp(email.smtp_url) if email.smtp_url else None,
            email_from=email.sender or "",
        )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, *, offline: bool = False) -> ServiceSettings:
        """What the variables of an environment say (`os.environ` unless one is given)."""
        return cls.of(from_environ(os.environ if env is None else env), offline=offline)


def _root(text: str) -> Path:
    root = Path(text).expanduser()
    if not root.is_absolute() or ".." in root.parts:
        raise UsageError(f"`files.roots` names `{text}`", hint="every folder in it begins with `/`")
    return root


def _smtp(text: str) -> SmtpServer:
    parts = urlsplit(text)
    host, secure = parts.hostname or "", parts.scheme == "smtps"
    local = is_this_machine(host)
    return SmtpServer(
        host=host,
        port=parts.port or (465 if secure else 25 if local else 587),
        tls="smtps" if secure else "none" if local else "starttls",
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )
