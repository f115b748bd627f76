"""What the call service needs to know of its surroundings. Keys are never shown: not in a repr, not in a message."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from stream_orchestrator.calls.routing import service_of
from stream_orchestrator.errors import UsageError
from stream_orchestrator.spec.config import from_environ
from stream_orchestrator.spec.settings import Calls
from stream_orchestrator.trust.addresses import is_this_machine

OPENAI_BASE_URL = "https://api.openai.com/v1"
ANTHROPIC_BASE_URL = "https://api.anthropic.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """Addresses, keys and bounds of the services. `prices` override the table: model → USD per 1M tokens (in, out).

    `offline`: every model is answered by the built-in offline model, and nothing is sent anywhere.
    `first_byte_timeout` is long on purpose: a service sends its first byte when the whole answer is written.
    """

    openai_key: str = field(default="", repr=False)
    openai_base_url: str = OPENAI_BASE_URL
    anthropic_key: str = field(default="", repr=False)
    anthropic_base_url: str = ANTHROPIC_BASE_URL
    offline: bool = False
    max_in_flight: int = 1000
    connect_timeout: float = 10.0
    first_byte_timeout: float = 300.0
    max_body_bytes: int = 16 * 1024 * 1024
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    regions: Mapping[str, str] = field(default_factory=dict)
    budgets: str = "refuse"

    @classmethod
    def from_env(
        cls, env: Mapping[str, str] | None = None, *, offline: bool = False, calls: Calls | None = None
    ) -> CallSettings:
        """Keys and addresses of an environment (`os.environ` unless one is given); bounds of `calls`, else of its
        variables. What cannot be meant is a `UsageError`.
        """
        env = os.environ if env is None else env
        calls = from_environ(env).section(Calls) if calls is None else calls
        return cls(
            openai_key=_key(env, "OPENAI_API_KEY"),
            openai_base_url=_base_url(env, "OPENAI_BASE_URL", OPENAI_BASE_URL),
            anthropic_key=_key(env, "ANTHROPIC_API_KEY"),
            anthropic_base_url=_base_url(env, "ANTHROPIC_BASE_URL", ANTHROPIC_BASE_URL),
            offline=offline,
            max_in_flight=calls.max_in_flight,
            connect_timeout=calls.connect_timeout,
            first_byte_timeout=calls.first_byte_timeout,
            budgets=calls.budgets,
            regions={name.lower(): region for name, region in calls.regions.items()},
        )

    def key_of(self, service: str) -> str:
        """The key for `openai` or `anthropic`; empty when there is none."""
        return self.anthropic_key if service == "anthropic" else self.openai_key

    def base_url_of(self, service: str) -> str:
        """Where `openai` or `anthropic` is asked, without a slash at its end."""
        return self.anthropic_base_url if service == "anthropic" else self.openai_base_url

    def mask(self, text: str) -> str:
        """The text without our keys, and without anything that looks like one."""
        for key in (self.openai_key, self.anthropic_key):
            if len(key) >= 4:
                text = text.replace(key, "***")
        return _SECRET.sub("***", text)


# `sk-…` as both services write them, a bearer header that a proxy echoes, and userinfo in an address.
_SECRET = re.compile(r"\bsk-[\w-]{8,}|(?<=Bearer )[^\s\"']{8,}|(?<=://)[^/\s@]+:[^/\s@]+(?=@)")


def key_variable(service: str) -> str:
    """The environment variable that holds the key of a service."""
    return "ANTHROPIC_API_KEY" if service == "anthropic" else "OPENAI_API_KEY"


def needs_key(service: str, settings: CallSettings) -> bool:
    """Whether a call would be refused for want of a key: a service on loopback (a local model, a test) needs none."""
    if service == "offline" or settings.offline or settings.key_of(service):
        return False
    return not is_this_machine(settings.base_url_of(service))


def missing_keys(models: Iterable[str], settings: CallSettings) -> list[str]:
    """The variables that must be set before these models can be asked, sorted; empty when nothing is missing."""
    services = {service_of(model) for model in models}
    return sorted(key_variable(service) for service in services if needs_key(service, settings))


def _key(env: Mapping[str, str], name: str) -> str:
    key = env.get(name, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"{name} holds characters that no key has", hint=f"copy the key again and set {name}")
    return key


def _base_url(env: Mapping[str, str], name: str, default: str) -> str:
    url = (env.get(name, "").strip() or default).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"{name} is not an http(s) address", hint=f"for example {name}={default}")
    return url
