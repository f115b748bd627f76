"""Our own commands, as a user starts them, in the document's folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def said(folder: Path, *arguments: str, exits: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """What `--json` tells; the exit code must be one of these."""
    done = subprocess.run(
        [sys.executable, "-m", "stream_orchestrator", *arguments, "--json"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("STREAM_ORCHESTRATOR__")},
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert done.returncode in exits, f"{' '.join(arguments)} exits with {done.returncode}\n{done.stderr.decode()}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found
