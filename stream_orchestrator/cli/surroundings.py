"""Settings of the environment: `STREAM_ORCHESTRATOR__SECTION__KEY`. One list, and a word about what is not in it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

PREFIX = "STREAM_ORCHESTRATOR__"
KNOWN = (
    "TOPICS__PREFIX",
    "TOPICS__PARTITIONS",
    "SCRIPTS__WORKERS",
    "CALLS__MAX_IN_FLIGHT",
    "CALLS__CONNECT_TIMEOUT",
    "CALLS__FIRST_BYTE_TIMEOUT",
    "FETCH__ALLOWED_HOSTS",
    "SCANNER__URL",
    "TRUST__FINGERPRINT_KEY",
    "KAFKA__SECURITY_PROTOCOL",
    "KAFKA__SASL_MECHANISM",
    "KAFKA__SASL_USERNAME",
    "KAFKA__SASL_PASSWORD",
    "KAFKA__SSL_CAFILE",
    "KAFKA__SSL_CERTFILE",
    "KAFKA__SSL_KEYFILE",
    "CLI__TRACEBACK",
)
PARTITIONS, PARTITIONS_EMBEDDED = 8, 4
MAX_PARTITIONS = 10_000
MAX_SCRIPT_WORKERS = 256


def warn_of_unknown(environ: Mapping[str, str]) -> None:
    """Say which of our settings nobody reads: a typo there is silent otherwise."""
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in KNOWN)
    if not unknown:
        return
    from stream_orchestrator.cli.voice import warn

    for name in unknown:
        nearest = get_close_matches(name.removeprefix(PREFIX), KNOWN, 1)
        hint = f"did you mean {PREFIX}{nearest[0]}?" if nearest else "docs/reference.md lists the settings"
        warn(f"there is no setting {name}; it does nothing", hint=hint)


def prefix_of(given: str | None, environ: Mapping[str, str]) -> str:
    """What stands before every topic: `--prefix`, else the setting, else nothing. What no topic may hold is refused."""
    from stream_orchestrator.errors import UsageError

    prefix = given if given is not None else environ.get(f"{PREFIX}TOPICS__PREFIX", "")
    if not all(char.isascii() and (char.isalnum() or char in "._-") for char in prefix):
        raise UsageError(
            f"`{prefix}` cannot stand before a topic", hint="a prefix has letters, digits, `.`, `_` and `-`"
        )
    return prefix


def partitions_of(environ: Mapping[str, str], *, embedded: bool) -> int:
    """How many partitions new topics get."""
    default = PARTITIONS_EMBEDDED if embedded else PARTITIONS
    return _count(environ, "TOPICS__PARTITIONS", most=MAX_PARTITIONS, default=default)


def script_workers_of(environ: Mapping[str, str]) -> int:
    """How many processes run the scripts of one set of functions; 0 is one a core, at least two."""
    return _count(environ, "SCRIPTS__WORKERS", most=MAX_SCRIPT_WORKERS, default=0)


def _count(environ: Mapping[str, str], setting: str, *, most: int, default: int) -> int:
    from stream_orchestrator.errors import UsageError

    name = PREFIX + setting
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or not 0 < int(text) <= most:
        raise UsageError(f"{name} is `{text}`", hint=f"a whole number from 1 to {most}, for example {name}=8")
    return int(text)
