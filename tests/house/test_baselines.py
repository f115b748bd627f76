"""The baselines that we compare ourselves with stand still: a faster product is the only way to a better ratio."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

BASELINES = Path(__file__).parents[2] / "bench" / "baselines"
FROZEN = {
    "faust_by_hand.py": "26c4c65f186ee96ff754992b126da4d37d796fffb6ff92a181a0248351f4ee2b",
    "raw_aiokafka.py": "8d3ba08f3c844ec0e1d83acce93dfb71f829947d049530ad834c5e279bf63492",
}


@pytest.mark.parametrize("name", FROZEN)
def test_a_baseline_is_as_it_was_frozen_and_fits_on_a_screen(name: str) -> None:
    data = (BASELINES / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == FROZEN[name]
    assert len(data.splitlines()) <= 60


def test_no_baseline_joins_or_leaves_unnoticed() -> None:
    assert {path.name for path in BASELINES.glob("*.py")} == set(FROZEN)
