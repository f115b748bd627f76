"""Where values are kept that are too large for a record: a folder that all workers share, or an S3-compatible store.

Layout: `<root>/<yyyymmddhh>/<sha256>`. The hour (UTC) is the one in which nobody needs the value any more; when it has
passed, the whole folder of that hour may go.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from stream_orchestrator.errors import MissingError
from stream_orchestrator.spec import settings
from stream_orchestrator.spec.config import Configuration

_HOUR = re.compile(r"\d{10}")
_NAME = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{32}\.part")
_LAST = 253_402_300_799.0  # the end of the year 9999


class Blobs(Protocol):
    """A store of bytes. Everything blocks, and raises OSError for what the store does."""

    uri: str

    def check(self) -> None:
        """MissingError when nothing can be kept there."""

    def put(self, place: str, body: bytes) -> None:
        """Keep bytes. Durable when it returns; again is harmless; cut short, nothing is there."""

    def get(self, place: str, most: int) -> bytes:
        """The bytes, and no more than `most` and one. FileNotFoundError when there are none."""

    def sweep(self, now: float, most: int) -> int:
        """Delete at most so many values whose hour has passed; gives how many went."""


def hour_of(instant: float) -> str:
    """The name of an hour."""
    return f"{datetime.fromtimestamp(min(max(instant, 0.0), _LAST), tz=UTC):%Y%m%d%H}"


def is_place(place: str) -> bool:
    """Whether this is a place as we make them, and leads nowhere else."""
    hour, _, name = place.partition("/")
    return bool(_HOUR.fullmatch(hour) and _NAME.fullmatch(name))


def is_hour(name: str) -> bool:
    """Whether this is the name of an hour, as we make it."""
    return _HOUR.fullmatch(name) is not None


def store_of(config: Configuration) -> Blobs | None:
    """The store that the settings name, or None."""
    url = config.section(settings.Blobs).url
    return blobs_at(url) if url else None


def blobs_at(url: str) -> Blobs:
    """The store of a setting `blobs.url`."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return FolderBlobs(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        from stream_orchestrator.trust.s3_blobs import S3Blobs

        return S3Blobs(parts.netloc, parts.path.strip("/"))
    if parts.scheme and "://" in url:
        raise MissingError(
            f"`blobs.url` is {parts.scheme}://..., and only folders and s3:// can be used",
            hint="give the path of a folder that all workers share, or s3://BUCKET/PREFIX",
        )
    return FolderBlobs(Path(url))


class FolderBlobs:
    """A folder. Values are readable by our user and its group; the folder is made when it is needed first."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self.uri = self._root.as_uri()

    def check(self) -> None:
        part = self._root / f".{uuid.uuid4().hex}.part"
        try:
            self._root.mkdir(mode=0o750, parents=True, exist_ok=True)
            _write(part, b"")
            part.unlink()
        except OSError as error:
            raise MissingError(
                f"large values cannot be kept in {self._root}: {error}",
                hint="make `blobs.url` a folder that every worker can write, or leave it out",
            ) from error

    def put(self, place: str, body: bytes) -> None:
        path = self._root / place
        with suppress(FileNotFoundError):
            if path.stat().st_size == len(body):
                return
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        try:
            _write(part, body)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _keep_names(path.parent)
        _keep_names(self._root)

    def get(self, place: str, most: int) -> bytes:
        with open(self._root / place, "rb") as file:
            return file.read(most + 1)

    def sweep(self, now: float, most: int) -> int:
        gone = 0
        for folder in self._passed(hour_of(now)):
            for entry in _entries(folder):
                if gone >= most:
                    return gone
                if _NAME.fullmatch(entry) or _PART.fullmatch(entry):
                    (folder / entry).unlink(missing_ok=True)
                    gone += 1
            with suppress(OSError):  # another worker was faster, or somebody keeps files of his own there
                folder.rmdir()
        return gone

    def _passed(self, hour: str) -> Iterator[Path]:
        for entry in sorted(_entries(self._root)):
            if _HOUR.fullmatch(entry) and entry < hour:
                yield self._root / entry


def _write(path: Path, body: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    with open(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())  # the record that refers to it may be durable a moment later


def _keep_names(folder: Path) -> None:
    """What was made or renamed in a folder is there after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
