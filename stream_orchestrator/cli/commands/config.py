"""`config explain [KEY]`: every setting, and where it was said."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_orchestrator.cli import voice
from stream_orchestrator.cli.building import group
from stream_orchestrator.cli.options import Json

Key = Annotated[
    str | None, typer.Argument(metavar="[KEY]", help="section.key, or a section; all without it", show_default=False)
]
Near = Annotated[
    Path | None,
    typer.Option("--for", metavar="PATH", help="The pipelines whose settings are meant", show_default=False),
]


def explain(key: Key = None, near: Near = None, as_json: Json = False) -> int:
    """Show every setting that is in force, and where it was said

    A file and its line, an environment variable, or the default. What is secret is not shown.
    """
    from stream_orchestrator.cli.surroundings import configured

    config = configured([near] if near else ())
    rows = [row for row in _rows(config) if key is None or _is_below(row["key"], key.lower())]
    if key is not None and not rows:
        _refuse(key)
    if as_json:
        voice.emit({"env": config.env, "files": list(config.files), "settings": rows})
        return 0
    said = [row for row in rows if key or row["value"] is not None]
    shown = [[row["key"], _text(row["value"]), _origin(row["origin"])] for row in said]
    voice.table(["KEY", "VALUE", "SAID BY"], shown, data=True)
    voice.say(f"environment {config.env}: {', '.join(config.files) or 'no config file'}")
    return 0


def _rows(config: Any) -> list[dict[str, Any]]:
    from stream_orchestrator.spec.config import HEADER, defaults, known_keys, masked
    from stream_orchestrator.spec.layers import Origin, leaves

    said = {path: value for path, value in leaves(config.data) if path[0] not in HEADER}
    known = {tuple(key.split(".")): None for key in known_keys() if not key.endswith("*")}
    values: dict[Any, Any] = {**known, **dict(defaults()), **said}
    return [
        {
            "key": ".".join(map(str, path)),
            "value": masked(path, values[path]),
            "origin": config.origins.get(path, Origin()).to_json(),
        }
        for path in sorted(values, key=str)
        if not any(other[: len(path)] == path and other != path for other in said)
    ]


def _is_below(key: str, wanted: str) -> bool:
    return key == wanted or key.startswith(f"{wanted}.")


def _refuse(key: str) -> None:
    from stream_orchestrator.errors import UsageError
    from stream_orchestrator.spec.config import known_keys

    nearest = get_close_matches(key, known_keys(), 1)
    guess = f"did you mean `{nearest[0]}`?" if nearest else "`config explain` lists them"
    raise UsageError(f"there is no setting `{key}`", hint=guess)


def _text(value: Any) -> str:
    import orjson

    return "-" if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()


def _origin(origin: dict[str, Any]) -> str:
    if origin["kind"] == "file":
        return f"{origin['file']}:{origin['line']}"
    return str(origin.get("variable", "default"))


app = group(
    "Explain the settings, and where each was said",
    {
        "explain": (
            explain,
            ("config explain", "config explain calls.max_in_flight --env production", "config explain topics --json"),
        )
    },
)
