"""What became of tests: one `Outcome` a test, one `Report` a document."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["passed", "failed", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one test ended. `failed`: something was not as expected. `error`: it could not be tried, or torn down.

    `measures` are what was measured (seconds, dollars, bytes, counts), for reports.
    """

    name: str
    status: Status
    seconds: float = 0.0
    failures: tuple[str, ...] = ()
    measures: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, failures: list[str], *, seconds: float, **measures: Any) -> Outcome:
        """Passed, or failed for these reasons."""
        status: Status = "failed" if failures else "passed"
        return cls(name=name, status=status, seconds=seconds, failures=tuple(failures), measures=measures)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.name,
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "failures": list(self.failures),
            **({"measures": self.measures} if self.measures else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All tests of one document, in their order."""

    file: str
    index: int
    kind: str
    name: str
    pipeline: str
    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every test passed."""
        return all(outcome.status == "passed" for outcome in self.outcomes)

    def count(self, status: Status) -> int:
        """How many ended so."""
        return sum(outcome.status == status for outcome in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "file": self.file,
            "index": self.index,
            "kind": self.kind,
            "name": self.name,
            "pipeline": self.pipeline,
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "tests": [outcome.to_json() for outcome in self.outcomes],
        }


def summary(reports: list[Report]) -> dict[str, Any]:
    """The one JSON document of `test --json`."""
    return {
        "ok": all(report.ok for report in reports),
        "tests": sum(len(report.outcomes) for report in reports),
        "passed": sum(report.count("passed") for report in reports),
        "failed": sum(report.count("failed") for report in reports),
        "errors": sum(report.count("error") for report in reports),
        "seconds": round(sum(report.seconds for report in reports), 3),
        "documents": [report.to_json() for report in reports],
    }
