"""The baselines that we compare ourselves with stand still: a faster product is the only way to a better ratio."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

BASELINES = Path(__file__).parents[2] / "bench" / "baselines"
FROZEN = {
    "faust_by_hand.py": "26f2ecec69eaf19aad198eeb4a29aed2931d9ccc5abe70a3d5840891c7ecbdac",
    "faust_same_guarantee.py": "083151155a9bcb00ee8c4a719a6849166f29f0c3c1dfc7c226d1b6224af91d81",
    "faust_with_promises.py": "24aa480b29f6a6fda1089a58eff7b935ef4502454cb282fa91e2fcffa37ddd03",
    "raw_aiokafka.py": "8d3ba08f3c844ec0e1d83acce93dfb71f829947d049530ad834c5e279bf63492",
}


@pytest.mark.parametrize("name", FROZEN)
def test_a_baseline_is_as_it_was_frozen_and_fits_on_a_screen(name: str) -> None:
    data = (BASELINES / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == FROZEN[name]
    assert len(data.splitlines()) <= 60


def test_no_baseline_joins_or_leaves_unnoticed() -> None:
    assert {path.name for path in BASELINES.glob("*.py")} == set(FROZEN)
