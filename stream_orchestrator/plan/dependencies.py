"""The packages that a plan's `dependencies` ask for, and which of them are not installed here."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement

from stream_orchestrator.plan.model import Plan


def missing_packages(plan: Plan) -> tuple[str, ...]:
    """The requirements that this environment does not meet, with what it has instead."""
    return tuple(problem for text in plan.dependencies if (problem := _missing(Requirement(text))))


def _missing(wanted: Requirement) -> str:
    if wanted.marker is not None and not wanted.marker.evaluate():
        return ""  # for another platform, or another Python
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return str(wanted)
    return "" if wanted.specifier.contains(found, prereleases=True) else f"{wanted} (installed: {found})"
