"""Settings of the environment: `STREAM_ORCHESTRATOR__SECTION__KEY`. One list, and a word about what is not in it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

PREFIX = "STREAM_ORCHESTRATOR__"
KNOWN = (
    "TOPICS__PREFIX",
    "TOPICS__PARTITIONS",
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
        raise UsageError(f"`{prefix}` cannot stand before a topic", hint="a prefix has letters, digits, `.`, `_` and `-`")
    return prefix


def partitions_of(environ: Mapping[str, str], *, embedded: bool) -> int:
    """How many partitions new topics get."""
    from stream_orchestrator.errors import UsageError

    name = f"{PREFIX}TOPICS__PARTITIONS"
    text = environ.get(name, "").strip()
    if not text:
        return PARTITIONS_EMBEDDED if embedded else PARTITIONS
    if not text.isdecimal() or not 0 < int(text) <= MAX_PARTITIONS:
        raise UsageError(f"{name} is `{text}`", hint=f"a whole number from 1 to {MAX_PARTITIONS}, for example {name}=8")
    return int(text)
