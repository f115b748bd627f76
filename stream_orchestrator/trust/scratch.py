"""The folders that scripts write in: one for each sandbox process, gone with it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "stream-orchestrator-scratch-"
_TRIES = 10  # far more than workers that start in the same millisecond


class Scratch:
    """A locked folder of this worker, with a folder for each process in it.

    Promises: readable by our user alone; deleted by `close`; what a killed worker left behind is deleted by the next
    one (its lock is free, however it died).
    """

    def __init__(self, parent: Path | None = None) -> None:
        base = Path(parent or tempfile.gettempdir())
        base.mkdir(parents=True, exist_ok=True)
        _sweep(base)
        self.root, self._lock = _made(base)
        self._count = 0

    def folder(self) -> Path:
        self._count += 1
        folder = self.root / str(self._count)
        folder.mkdir(mode=0o700)
        return folder

    def remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _made(base: Path) -> tuple[Path, int | None]:
    """A new folder that is ours: another worker's sweep may take one before we have locked it, and then we make one
    more.
    """
    for _ in range(_TRIES):
        root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base)).resolve()
        try:
            lock = _locked(root)
        except FileNotFoundError:
            continue
        if lock is not None and os.path.exists(root / ".lock"):
            return root, lock
        if lock is not None:
            os.close(lock)
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base)).resolve(), None  # a file system that knows no locks


def _locked(root: Path) -> int | None:
    """Hold the folder's lock, or None when somebody else does."""
    lock = os.open(root / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _sweep(base: Path) -> None:
    for left in base.glob(f"{_PREFIX}*"):
        try:
            lock = _locked(left)
        except OSError:  # another user's, or just deleted by another worker
            continue
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
