"""Files in folders that are allowed: read by a path that an event names, and never from anywhere else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stream_orchestrator.errors import PassingFault, RunError

LARGEST = 10 * 1024 * 1024  # bytes: in base64 it still fits into a record beside its event


class NotAllowed(RunError):
    """A file that no event may have. Says nothing of what else is there."""


class NotThere(PassingFault):
    """A file that cannot be read now."""


def read_allowed(uri: str, folders: tuple[str, ...], *, most: int) -> bytes:
    """The content of a file below one of the folders, links followed first. At most `most` bytes and one more."""
    # not `Path.resolve`, which raises for links in a circle
    roots = [Path(os.path.realpath(folder)) for folder in folders if "\0" not in folder]
    path = _path_of(uri)
    candidates = [path] if path.is_absolute() else [root / path for root in roots]
    resolved = [Path(os.path.realpath(each)) for each in candidates]
    found = [each for each in resolved if any(each.is_relative_to(root) for root in roots)]
    if not found:
        raise NotAllowed("its `uri` is in no folder that is allowed (files.folders)")
    there = next((each for each in found if os.path.exists(each)), found[0])
    return _content(there, min(most, LARGEST) + 1)


def _path_of(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(_plain(unquote(parts.path)))
    if parts.scheme or parts.netloc:
        raise NotAllowed(f"its `uri` begins with `{parts.scheme[:20]}:`, and files are fetched from folders only")
    return Path(_plain(uri))


def _plain(text: str) -> str:
    if "\0" in text or not text:
        raise NotAllowed("its `uri` is no path")
    return text


def _content(path: Path, most: int) -> bytes:
    try:
        # The path was resolved: a link that has come in between is not followed, a pipe not waited for.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise NotAllowed("its `uri` names no plain file")
            return file.read(most)
    except OSError as fault:
        raise NotThere(f"its `uri` cannot be read: {fault.strerror}") from fault
