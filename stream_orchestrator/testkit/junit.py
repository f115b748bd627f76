"""JUnit XML, as continuous-integration servers read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from stream_orchestrator.errors import UsageError
from stream_orchestrator.testkit.outcome import Outcome, Report


def write_junit(path: Path, reports: Sequence[Report]) -> None:
    """The reports as a file; UsageError when it cannot be written."""
    root = Element("testsuites", name="stream-orchestrator")
    for report in reports:
        root.append(_suite(report))
    indent(root)
    try:
        ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as failed:
        raise UsageError(
            f"cannot write {path}: {failed.strerror}", hint="--junit names a file in a folder that is there"
        ) from failed


def _suite(report: Report) -> Element:
    suite = Element(
        "testsuite",
        name=_clean(report.name),
        tests=str(len(report.outcomes)),
        failures=str(report.count("failed")),
        errors=str(report.count("error")),
        skipped="0",
        time=f"{report.seconds:.3f}",
        file=report.file,
    )
    for outcome in report.outcomes:
        suite.append(_case(report, outcome))
    return suite


def _case(report: Report, outcome: Outcome) -> Element:
    case = Element("testcase", name=_clean(outcome.name), classname=_clean(report.name), time=f"{outcome.seconds:.3f}")
    if outcome.status != "passed":
        told = "\n".join(outcome.failures)
        kind = "failure" if outcome.status == "failed" else "error"
        child = SubElement(case, kind, message=_clean(outcome.failures[0] if outcome.failures else outcome.status))
        child.text = _clean(told)
    return case


def _clean(text: str) -> str:
    """Without what no XML 1.0 document may hold, however it is escaped."""
    return "".join(char if _allowed(ord(char)) else "\N{REPLACEMENT CHARACTER}" for char in text)


def _allowed(code: int) -> bool:
    return code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
