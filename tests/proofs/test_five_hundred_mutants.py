"""Mutants of sound pipelines: no traceback ever, every rejection says where and what next, few mistakes slip through.

pytest -s tests/proofs/test_five_hundred_mutants.py      MUTANTS_SEED replays, MUTANTS_ROUNDS lengthens it
"""

from __future__ import annotations

import difflib
import json
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.mutants import Mutant, dumped, errors_of
from support.mutations import SEMANTIC, STRUCTURAL

ROOT = Path(__file__).parents[2]
SOURCES = [
    *sorted((ROOT / "pipelines" / "production").glob("*.yaml")),
    *sorted((Path(__file__).parent / "pipelines").glob("orders-proof.yaml")),
]
SEED = int(os.environ.get("MUTANTS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
ROUNDS = int(os.environ.get("MUTANTS_ROUNDS", "4"))
BAR = 0.95


def semantic_mutants() -> Iterator[Mutant]:
    for path in SOURCES:
        whole = yaml.load(path.read_text(), yaml.CSafeLoader)
        for name, operator in SEMANTIC.items():
            for number in range(ROUNDS):
                data = json.loads(json.dumps(whole))  # a copy, and without shared parts
                if operator(data, random.Random(f"{SEED} {path.name} {name} {number}")):
                    yield name, path, number, dumped(data).encode()


def structural_mutants() -> Iterator[Mutant]:
    for path in SOURCES:
        text = path.read_text()
        for name, operator in STRUCTURAL.items():
            for number in range(ROUNDS):
                yield name, path, number, operator(text, random.Random(f"{SEED} {path.name} {name} {number}"))


def test_the_documents_that_are_mutated_are_sound_themselves() -> None:
    for path in SOURCES:
        data = yaml.load(path.read_text(), yaml.CSafeLoader)
        for raw in (path.read_bytes(), dumped(data).encode()):
            assert errors_of(("none", path, 0, raw), SEED) == ()


@pytest.mark.timeout(600)
def test_damaged_text_never_ends_in_a_traceback_and_every_rejection_has_a_place_and_a_hint() -> None:
    rejected: Counter[str] = Counter()
    made: Counter[str] = Counter()
    for mutant in structural_mutants():
        made[mutant[0]] += 1
        rejected[mutant[0]] += bool(errors_of(mutant, SEED))
    print(f"\nseed {SEED} (MUTANTS_SEED={SEED} MUTANTS_ROUNDS={ROUNDS} replays it)")
    for name in STRUCTURAL:
        print(f"  {name:32} {rejected[name]:4} of {made[name]:4} rejected")
    print(f"{made.total()} damaged texts, tracebacks 0, rejections without a place or hint 0")
    assert made.total() + 400 >= 500


@pytest.mark.timeout(600)
def test_nearly_all_mistakes_are_rejected_each_with_a_place_and_a_hint() -> None:
    made: Counter[str] = Counter()
    slipped: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in semantic_mutants():
        made[mutant[0]] += 1
        if not errors_of(mutant, SEED):
            slipped[mutant[0]].append(mutant)
    through = sum(map(len, slipped.values()))
    print(f"\nseed {SEED} (MUTANTS_SEED={SEED} MUTANTS_ROUNDS={ROUNDS} replays it)")
    for name in SEMANTIC:
        print(f"  {name:36} {made[name] - len(slipped[name]):4} of {made[name]:4} rejected")
    for name, mutants in slipped.items():
        for _, path, number, raw in mutants:
            print(f"  slipped through: {name} of {path.name}, number {number}:\n{_difference(path, raw)}")
    rate = 1 - through / made.total()
    print(f"{made.total()} mistakes of {len(SEMANTIC)} kinds, {rate:.1%} rejected, tracebacks 0")
    assert len(SEMANTIC) >= 20
    assert rate >= BAR


def test_the_command_says_the_same_of_a_folder_of_mutants(tmp_path: Path) -> None:
    kept = [
        mutant for mutant in (*semantic_mutants(), *structural_mutants()) if mutant[2] == 0 and mutant[1] == SOURCES[-1]
    ]
    for name, _, number, raw in kept:
        (tmp_path / f"{name}-{number}.yaml").write_bytes(raw)
    arguments = [sys.executable, "-m", "stream_orchestrator", "validate", str(tmp_path), "--json"]
    done = subprocess.run(arguments, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert b"Traceback" not in done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["ok"] is False
    files = {Path(document["file"]).name for document in said["documents"]}
    assert files == {f"{name}-{number}.yaml" for name, _, number, _ in kept}
    for document in said["documents"]:
        for problem in document["problems"]:
            assert problem["line"] >= 1
            assert problem["column"] >= 1
            assert problem["hint"]


def _difference(path: Path, raw: bytes) -> str:
    before = yaml.safe_dump(
        json.loads(json.dumps(yaml.load(path.read_text(), yaml.CSafeLoader))), sort_keys=False, allow_unicode=True
    )
    lines = difflib.unified_diff(before.splitlines(), raw.decode().splitlines(), lineterm="", n=0)
    return "\n".join(f"    {line[:140]}" for line in lines if line[:1] in "+-" and line[:3] not in {"+++", "---"})
