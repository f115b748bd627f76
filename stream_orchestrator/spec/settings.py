"""The settings of the service, section by section: what a config file says beside the keys it shares with pipelines.

A field here is a key of config files, a `STREAM_ORCHESTRATOR__SECTION__KEY`, a line of `config explain`, of the schema.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from stream_orchestrator.spec.fields import Bytes, PositiveSeconds, Spec, Text, Texts, about, bad_value

MAX_PARTITIONS = 10_000
MAX_SCRIPT_WORKERS = 256
SECRET = re.compile(r"password|secret|token|webhook|smtp_url|(^|_)key$", re.IGNORECASE)


def _prefix(value: str) -> str:
    if not all(char.isascii() and (char.isalnum() or char in "._-") for char in value):
        raise bad_value(f"`{value}` cannot stand before a topic", "a prefix has letters, digits, `.`, `_` and `-`")
    return value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _http(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
        raise bad_value("is not an address of the web", "write `https://host`, as in https://searx.example")
    return value.rstrip("/")


def _smtp(value: str) -> str:
    if not re.fullmatch(r"smtps?://([^\s/@]+@)?(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d{1,4}|:[1-5]\d{4})?/?", value):
        raise bad_value("is not the address of a mail server", "write `smtp://user:password@host:587`")
    return value


def _scanner(value: str) -> str:
    if not re.fullmatch(r"tcp://(\[[0-9A-Fa-f:.]+\]|[\w.-]+):\d{1,5}", value):
        raise bad_value("is not the address of a scanner", "write `tcp://host:port`, as in tcp://localhost:3310")
    return value


TopicPrefix = Annotated[
    str, AfterValidator(_prefix), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9._-]*$"})
]
HttpUrl = Annotated[Text, AfterValidator(_http)]
SmtpUrl = Annotated[Text, AfterValidator(_smtp)]
ScannerUrl = Annotated[Text, AfterValidator(_scanner)]
SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class Topics(Spec):
    """Topics that are made."""

    noun: ClassVar[str] = "`topics`"

    prefix: TopicPrefix = about("stands before every topic, group and table", "")
    partitions: int | None = about("of new versions: 8, and 4 on the embedded broker", ge=1, le=MAX_PARTITIONS)


class Scripts(Spec):
    """Processes that run scripts."""

    noun: ClassVar[str] = "`scripts`"

    workers: int | None = about("processes for one set of functions; one a core", ge=1, le=MAX_SCRIPT_WORKERS)


class Calls(Spec):
    """Calls of models."""

    noun: ClassVar[str] = "`calls`"

    max_in_flight: int = about("calls at once of one worker", 1000, ge=1)
    connect_timeout: PositiveSeconds = about("how long a connection may take", 10.0)
    first_byte_timeout: PositiveSeconds = about("how long a service may think", 300.0)
    regions: dict[str, Text] = about("where each service is, by its name, for `data_residency`: `{openai: EU}`", {})
    budgets: Literal["refuse", "unkept"] = about(
        "a pipeline with a `budget_limit`: `refuse` to start where calls cost money, or start, and leave it `unkept`",
        "refuse",
    )


class Fetch(Spec):
    """What is fetched from addresses that events name."""

    noun: ClassVar[str] = "`fetch`"

    allowed_hosts: Texts = about("private or loopback hosts that may be reached all the same", [])


class Files(Spec):
    """Files that events refer to, and that tasks work on."""

    noun: ClassVar[str] = "`files`"

    folders: Texts = about("folders from which a `{name, uri}` may take a file; none by default", [])
    roots: Texts = about("folders in which a `file_task` may work, the same on every worker; none by default", [])
    patience: PositiveSeconds = about(
        "how long a file that cannot be had is asked for before its event is rejected", 300.0
    )


class Search(Spec):
    """Where the web is searched."""

    noun: ClassVar[str] = "`search`"

    url: HttpUrl | None = about("the address of a SearXNG that allows the format `json`")


class Email(Spec):
    """How mail is sent."""

    noun: ClassVar[str] = "`email`"

    smtp_url: SmtpUrl | None = about("the mail server: `smtp://user:password@host:587`, or `smtps://`")
    sender: Text | None = about("who sends a message that does not say it")


class Scanner(Spec):
    """The virus scanner."""

    noun: ClassVar[str] = "`scanner`"

    url: ScannerUrl | None = about("`tcp://host:port` of clamd")
    timeout: PositiveSeconds = about("how long one scan may take", 60.0)
    patience: PositiveSeconds = about("how long a scanner that is away is asked before the event is rejected", 600.0)


class Trust(Spec):
    """What scripts may reach, and keys of our own."""

    noun: ClassVar[str] = "`trust`"

    network: Literal["deny"] | None = about("`deny`: no script reaches the network, whatever a `sandbox` says")
    encryption_key: Text | None = about("32 bytes in base64, for `encryption_at_rest`; the same on every worker")
    former_encryption_key: Text | None = about("the one before it, for what it has sealed")
    fingerprint_key: Text | None = about("the key of `context.fingerprint`, the same on every worker")


class Kafka(Spec):
    """How the broker is reached."""

    noun: ClassVar[str] = "`kafka`"

    bootstrap_servers: Text | None = about("`host:port[,host:port]`; `KAFKA_BOOTSTRAP_SERVERS` says the same")
    security_protocol: Annotated[SecurityProtocol | None, BeforeValidator(_upper)] = about(
        "default: what the other keys imply"
    )
    sasl_mechanism: Annotated[SaslMechanism | None, BeforeValidator(_upper)] = about("how the password is checked")
    sasl_username: Text | None = about("the user")
    sasl_password: Text | None = about("its password")
    ssl_cafile: Text | None = about("PEM file of the authority")
    ssl_certfile: Text | None = about("PEM file of our certificate")
    ssl_keyfile: Text | None = about("PEM file of its key")
    encrypted_disks: bool = about("the broker's disks are encrypted: enough for `encryption_at_rest`", False)


class Cli(Spec):
    """The command line."""

    noun: ClassVar[str] = "`cli`"

    traceback: Text | None = about("any value: errors of commands come with their traceback")


class Blobs(Spec):
    """Where values are kept that are too large for a record."""

    noun: ClassVar[str] = "`blobs`"

    url: Text | None = about("a folder that all workers share, or `s3://bucket/prefix`")
    threshold: Bytes = about("outputs of scripts larger than this (at least 4 kB) are kept there", 1_000_000)
