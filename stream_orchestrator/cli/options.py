"""The options that commands share, each with its one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream_orchestrator.spec.quantities import BadQuantity
from stream_orchestrator.spec.quantities import duration as parse_duration


def seconds(text: str | float) -> float:
    """`30`, `30s`, `2m`, `1 hour`: seconds. Typer hands over defaults too, which are seconds already."""
    if not isinstance(text, str):
        return text
    try:
        found = parse_duration(text)
    except BadQuantity as wrong:
        raise typer.BadParameter(f"{wrong}; {wrong.hint}") from wrong
    return float(found.seconds)


def address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, or a port of the loopback."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise typer.BadParameter(f"`{text}` is not HOST:PORT; for example 127.0.0.1:8080")
    return host.strip("[]") or "127.0.0.1", int(port)


Paths = Annotated[
    list[Path], typer.Argument(metavar="PATH", help="Files and folders with pipelines", show_default=False)
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A pipeline document", show_default=False)]
Pipeline = Annotated[str, typer.Argument(metavar="PIPELINE", help="A pipeline's name, or its file", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout")]
JsonLines = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout")]
Broker = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="embedded, or kafka://host:port[,host:port]  [default: KAFKA_BOOTSTRAP_SERVERS, else embedded]",
        show_default=False,
    ),
]
KafkaBroker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="ADDRESS",
        help="kafka://host:port[,host:port]  [default: KAFKA_BOOTSTRAP_SERVERS]",
        show_default=False,
    ),
]
Functions = Annotated[
    list[str],
    typer.Option(metavar="FILE.py|MODULE", help="Helper functions for scripts; may be given again", show_default=False),
]
Prefix = Annotated[
    str | None,
    typer.Option(metavar="P", help="Stands before every topic, group and table", show_default=False),
]
Env = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The environment: settings of config/NAME.yaml; production demands more  [default: development]",
        show_default=False,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings of this file, or of NAME.yaml in this folder", show_default=False
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Every model is answered by the built-in offline model")]
AllowUnsafe = Annotated[
    bool, typer.Option("--allow-unsafe", help="In production, go on with fewer replicas than it demands")
]
Input = Annotated[
    Path, typer.Option("--input", metavar="EVENTS.jsonl", help="Events, one JSON object a line", show_default=False)
]
KeyField = Annotated[
    str | None, typer.Option(metavar="F", help="The field of an event that is its key", show_default=False)
]
RunIdField = Annotated[
    str | None, typer.Option(metavar="F", help="The field of an event that is its run id", show_default=False)
]
Timeout = Annotated[
    float | None,
    typer.Option(metavar="S", parser=seconds, help="Give up after so long: 90, 90s, 5m", show_default=False),
]
Http = Annotated[
    object,  # Typer takes no union with a tuple; the parser gives (host, port)
    typer.Option(
        metavar="HOST:PORT", parser=address, help="/health/live, /health/ready and /metrics", show_default=False
    ),
]
