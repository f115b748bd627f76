"""Mutants of documents of every kind: no traceback ever; each compiles, or is refused with line, column and a hint.

pytest -s tests/proofs/test_two_thousand_mutants.py      MUTANTS_SEED replays, KINDS_ROUNDS lengthens it
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.mutants import Mutant, dumped, errors_of
from support.mutations import STRUCTURAL, TREE

from stream_orchestrator.spec import kinds
from stream_orchestrator.spec.documents import read_file

ROOT = Path(__file__).parents[2]
CONSTRUCTS = sorted((ROOT / "tests" / "generality").rglob("*.yaml"))
OTHERS = [
    *sorted((ROOT / "tests" / "spec" / "accepted").rglob("*.yaml")),
    *sorted((ROOT / "pipelines").rglob("*.yaml")),
    *sorted((ROOT / "config").glob("*.yaml")),
]
SEED = int(os.environ.get("MUTANTS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
ROUNDS = int(os.environ.get("KINDS_ROUNDS", "4"))
WANTED = 2_000


def sources() -> list[tuple[Path, int]]:
    """Each document, and how many rounds it goes through all operators."""
    return [*((path, 1) for path in CONSTRUCTS), *((path, ROUNDS) for path in OTHERS)]


def mutants() -> Iterator[Mutant]:
    for path, rounds in sources():
        text = path.read_text()
        whole = [yaml.load(text, yaml.CSafeLoader)] if "\n---" not in text else []
        for number in range(rounds):
            for name, operator in STRUCTURAL.items():
                yield name, path, number, operator(text, _dice(path, name, number))
            for name, change in TREE.items():
                for data in whole:
                    changed = json.loads(json.dumps(data, default=str))  # a copy, and without shared parts
                    if change(changed, _dice(path, name, number)):
                        yield name, path, number, dumped(changed).encode()


def _dice(path: Path, name: str, number: int) -> random.Random:
    return random.Random(f"{SEED} {path.relative_to(ROOT)} {name} {number}")


def test_every_kind_of_document_and_every_construct_is_mutated() -> None:
    found = {document.kind for path, _ in sources() for document in read_file(path)}
    assert found == set(kinds.BY_NAME)
    text = "".join(path.read_text() for path in CONSTRUCTS)
    for word in ("parallel_group", "for_loop", "while_loop", "condition", "component", "for_each", "fallback"):
        assert word in text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_thousand_mutants_give_a_plan_or_problems_with_a_place_and_never_a_traceback() -> None:
    kind_of = {path: read_file(path)[0].kind for path, _ in sources()}
    of_kind: Counter[str] = Counter()
    made: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for mutant in mutants():
        of_kind[kind_of[mutant[1]]] += 1
        made[mutant[0]] += 1
        refused[mutant[0]] += bool(errors_of(mutant, SEED))
    print(f"\nseed {SEED} (MUTANTS_SEED={SEED} KINDS_ROUNDS={ROUNDS} replays it)")
    for kind, count in of_kind.most_common():
        print(f"  {kind:28} {count:5} mutants")
    for name, count in made.items():
        print(f"  {name:28} {refused[name]:5} of {count:5} refused")
    print(f"{made.total()} mutants, tracebacks 0, refusals without a place or a hint 0")
    assert made.total() >= WANTED
    assert all(refused[name] for name in (*STRUCTURAL, *TREE)), "an operator that never breaks anything is none"
