"""Folders of workers that start and sweep at the same time."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from stream_orchestrator.trust import scratch
from stream_orchestrator.trust.scratch import Scratch


def test_a_folder_that_another_worker_sweeps_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = tempfile.mkdtemp

    def swept(**where: Any) -> str:
        made.append(make(**where))
        if len(made) == 1:
            scratch._sweep(tmp_path)
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", swept)
    one = Scratch(tmp_path)
    assert len(made) == 2
    assert one.folder().is_dir()
    scratch._sweep(tmp_path)
    assert one.root.is_dir()
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_goes_while_it_is_being_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = scratch._locked, []

    def loses(root: Path) -> int | None:
        got = lock(root)
        taken.append(root)
        if len(taken) == 1:
            shutil.rmtree(root)
        return got

    monkeypatch.setattr(scratch, "_locked", loses)
    one = Scratch(tmp_path)
    assert one.root == taken[1]
    assert one.folder().is_dir()
    one.close()
