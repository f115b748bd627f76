"""`python -m stream_orchestrator`: the command line, wherever the package is installed."""

from __future__ import annotations

from stream_orchestrator.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
