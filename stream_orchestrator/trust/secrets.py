"""Where secrets come from, and which of our own variables no script may have."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

MOUNTED = Path("/run/secrets")

_OURS = frozenset(
    [
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "REDIS_URL",
        "VAULT_TOKEN",
        "VAULT_ADDR",
    ]
)
_OUR_PREFIXES = ("KAFKA_", "STREAM_ORCHESTRATOR__", "OTEL_")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|HEADERS$|^REDIS_URL$|DSN$")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def is_ours(name: str) -> bool:
    """Whether a variable belongs to the worker: its brokers, its models, its settings. Scripts never get those."""
    return name.upper() in _OURS or name.upper().startswith(_OUR_PREFIXES)


def looks_secret(name: str) -> bool:
    """Whether a variable of that name usually holds what nobody should read."""
    return bool(_SECRET_NAME.search(name.upper()))


class Secrets:
    """Reads secrets anew each time, so that a rotated one is seen. Nothing here is kept, logged or cached."""

    def __init__(self, *, environ: Mapping[str, str] = os.environ, mounted: Path = MOUNTED) -> None:
        self._environ, self._mounted = environ, mounted

    def get(self, name: str) -> str | None:
        """The secret, or None: `DATABASE_PASSWORD` and then `database_password` in the environment, then mounted files.

        A name of ours is never answered, nor a name that could lead out of the folder of mounted secrets.
        """
        variable = _variable(name)
        if not _PLAIN_NAME.fullmatch(name) or is_ours(variable):
            return None
        for candidate in (variable, name):
            if candidate in self._environ:
                return self._environ[candidate]
        return self._from_file(name) or self._from_file(variable)

    def missing(self, name: str) -> str:
        """Why `get` found nothing, and where it looked."""
        variable = _variable(name)
        if is_ours(variable):
            return f"the secret `{name}` belongs to the worker: scripts do not get it"
        return f"no secret `{name}`: set {variable}, or mount {self._mounted / name}"

    def variable(self, name: str) -> str | None:
        """The environment variable of that name, unless it is one of ours."""
        return None if is_ours(name) else self._environ.get(name)

    def known(self) -> Iterator[str]:
        """The values that look like secrets by their variable's name, ours included: what must never be said aloud."""
        for name, value in self._environ.items():
            if looks_secret(name):
                yield value

    def own(self, name: str) -> str | None:
        """A secret of the worker itself, such as the key of fingerprints. Not for scripts."""
        return self._environ.get(name) or None

    def _from_file(self, name: str) -> str | None:
        try:
            return (self._mounted / name).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            return None


def _variable(name: str) -> str:
    return re.sub(r"[.-]", "_", name).upper()
