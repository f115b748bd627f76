"""Scripts as the plan hands them to the sandbox."""

from __future__ import annotations

import textwrap
from typing import Any

from stream_orchestrator.kernel.effects import RunScript


def script(body: str, /, **options: Any) -> RunScript:
    """A script whose first line is line 1. It ends within 5 s, so that a broken limit fails fast."""
    lines = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    source = f"{'async ' if 'await ' in lines else ''}def __step__(__b__):\n    pass\n{lines}\n"
    return RunScript(source=source, digest=str(hash(source)), **{"timeout": 5.0, **options})
