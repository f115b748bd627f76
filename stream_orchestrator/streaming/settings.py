"""How to reach a broker, and how to be a member there. Data and its translation into the clients' own words.

Promises
  * Nothing here connects; files named for TLS are read when a context is asked for; a missing one is a `MissingError`.
  * The password is in no `repr`, so in no log line and no traceback.
  * What the embedded broker cannot do (idempotence, static membership) is left out here, so no caller has to know.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

from stream_orchestrator.errors import MissingError, UsageError
from stream_orchestrator.spec.settings import Kafka, SaslMechanism, SecurityProtocol
from stream_orchestrator.trust.addresses import is_this_machine
from stream_orchestrator.trust.sealing import Seal

SECTION = "STREAM_ORCHESTRATOR__KAFKA__"
EMBEDDED = "embedded"
DEFAULT_PORT = 9092
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """One cluster and our manners there. Times are in seconds; 0 means the default of the broker's kind.

    `instance_id` makes group membership static: a restarted process is back without a rebalance. It is the stem; each
    app adds its own ending. `seal` opens what is sealed in topics; whether anything is sealed, the worker decides.
    """

    bootstrap: str
    embedded: bool = False
    instance_id: str | None = None
    session_timeout: float = 0.0
    heartbeat: float = 0.0
    client_id: str = "stream-orchestrator"
    max_message_bytes: int = 16 * MIB
    security_protocol: SecurityProtocol = "PLAINTEXT"
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    sasl_mechanism: SaslMechanism | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    encrypted_disks: bool = False
    seal: Seal | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        # The embedded broker's join waits half a session, and it has no static members to protect: short there.
        session, heartbeat = (3.0, 1.0) if self.embedded else (10.0, 1.0)
        object.__setattr__(self, "session_timeout", self.session_timeout or session)
        object.__setattr__(self, "heartbeat", self.heartbeat or heartbeat)
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            raise UsageError(
                f"{self.security_protocol} needs a user name and a password",
                hint=f"set {SECTION}SASL_USERNAME and {SECTION}SASL_PASSWORD",
            )

    @property
    def servers(self) -> tuple[str, ...]:
        """The bootstrap addresses, one by one."""
        return tuple(self.bootstrap.split(","))

    @property
    def plain_servers(self) -> tuple[str, ...]:
        """Those on other machines that are reached without TLS."""
        if self.embedded or self.security_protocol.endswith("SSL"):
            return ()
        return tuple(server for server in self.servers if not is_this_machine(f"//{server}"))

    @property
    def idempotent(self) -> bool:
        """Whether producers may be idempotent: the embedded broker has no producer ids."""
        return not self.embedded

    def connection(self) -> dict[str, Any]:
        """What every aiokafka client takes: addresses and credentials."""
        kwargs: dict[str, Any] = {
            "bootstrap_servers": list(self.servers),
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.endswith("SSL"):
            kwargs["ssl_context"] = self.ssl_context()
        if self.security_protocol.startswith("SASL"):
            kwargs |= {
                "sasl_mechanism": self.sasl_mechanism or "PLAIN",
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return kwargs

    def producer(self) -> dict[str, Any]:
        """What an aiokafka producer takes: every acknowledgement is of all in-sync replicas."""
        return self.connection() | {
            "acks": "all",
            "enable_idempotence": self.idempotent,
            # The topics take 16 MiB; the producer's own limit counts a little more than the payload.
            "max_request_size": self.max_message_bytes + MIB,
            # 16 kB batches make many waiting senders wake each other up; measured to cost half of the throughput.
            "max_batch_size": 256 * 1024,
        }

    def consumer(self) -> dict[str, Any]:
        """What an aiokafka consumer takes, group or none; nothing is committed behind anyone's back."""
        return self.connection() | {"enable_auto_commit": False, "auto_offset_reset": "earliest"}

    def membership(self) -> dict[str, Any]:
        """What a group member takes. Static only where the broker re-admits static members."""
        kwargs: dict[str, Any] = {
            "session_timeout_ms": round(self.session_timeout * 1000),
            "heartbeat_interval_ms": round(self.heartbeat * 1000),
        }
        if self.instance_id and not self.embedded:
            kwargs["group_instance_id"] = self.instance_id
        return kwargs

    def ssl_context(self) -> ssl.SSLContext:
        """The TLS context: the named authority or the system's, and our certificate when there is one."""
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        except (OSError, ssl.SSLError) as fault:
            files = ", ".join(name for name in (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile) if name)
            raise MissingError(
                f"cannot read the TLS files for Kafka ({files}): {fault}",
                hint=f"{SECTION}SSL_CAFILE, SSL_CERTFILE and SSL_KEYFILE name PEM files",
            ) from fault
        return context

    def faust_credentials(self) -> Any:
        """The same credentials in Faust's words, or None for a plain connection."""
        if self.security_protocol == "PLAINTEXT":
            return None
        import faust  # here, because commands that only read settings must not wait for it

        context = self.ssl_context() if self.security_protocol.endswith("SSL") else None
        if self.security_protocol == "SSL":
            return faust.SSLCredentials(context=context)
        return faust.SASLCredentials(
            username=self.sasl_username,
            password=self.sasl_password,
            mechanism=self.sasl_mechanism or "PLAIN",
            ssl_context=context,
        )


def parse_broker(text: str) -> str:
    """`kafka://host:port[,host:port]` or a plain list becomes `host:port,host:port`; a missing port is 9092."""
    addresses = text.strip().removeprefix("kafka://").rstrip("/")
    return ",".join(_address(part.strip(), text) for part in addresses.split(","))


def settings_from(broker: str | None, kafka: Kafka, *, client_id: str = "") -> StreamSettings | None:
    """What `--broker` (or, without it, the settings) say; None when that is the embedded broker."""
    text = broker or kafka.bootstrap_servers or EMBEDDED
    if text == EMBEDDED:
        return None
    return StreamSettings(
        bootstrap=parse_broker(text),
        client_id=client_id or "stream-orchestrator",
        security_protocol=kafka.security_protocol or _implied(kafka),
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=kafka.sasl_password,
        ssl_cafile=kafka.ssl_cafile,
        ssl_certfile=kafka.ssl_certfile,
        ssl_keyfile=kafka.ssl_keyfile,
        encrypted_disks=kafka.encrypted_disks,
    )


def _implied(kafka: Kafka) -> SecurityProtocol:
    # Credentials without a protocol go over TLS: the other guess would send a password in the clear.
    if kafka.sasl_mechanism or kafka.sasl_username:
        return "SASL_SSL"
    return "SSL" if kafka.ssl_cafile or kafka.ssl_certfile or kafka.ssl_keyfile else "PLAINTEXT"


def _address(part: str, whole: str) -> str:
    host, colon, port = part.rpartition(":")
    if part.endswith("]") or not colon:  # an IPv6 address in brackets, or a bare host
        host, port = part, str(DEFAULT_PORT)
    good = host and "/" not in host and (":" not in host or host.startswith("["))
    if not good or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"`{whole}` is not a broker address", hint="embedded, or kafka://host:port[,host:port]")
    return f"{host}:{port}"
