"""Appending to a file once, however often it is asked.

A journal beside the file says which keys were appended, and where. A key is on the disk before a byte of its content
is; only the last one can have been cut short, by a crash, and whoever comes next takes it back: its call is made again.
The journal is a ring of lines of one length, each with a check sum: a line that was cut is none, and is the oldest one.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from typing import NamedTuple

MOST_KEPT = 4096  # keys of a journal: a repetition comes within the deadline of its run, not after so many others
_WIDTH = 20 + 64 + 20 + 20 + 8 + 5  # number, key, start, end, check sum, and what is between them
_NOTHING = b" " * (_WIDTH - 1) + b"\n"


class _Place(NamedTuple):
    number: int
    key: str
    start: int
    end: int


def append_once(file: int, journal: int, key: str, content: bytes) -> int:
    """Append `content` under `key`, unless that was done; where it ends. Both files are open for reading and writing.

    Appends to one file wait for each other, those of other processes too.
    """
    fcntl.flock(journal, fcntl.LOCK_EX)
    try:
        places = _whole(file, journal)
        if key in places:
            return places[key].end
        start = os.fstat(file).st_size
        number = max((place.number for place in places.values()), default=-1) + 1
        place = _Place(number, key, start, start + len(content))
        _write_at(journal, _line(place), _slot(place))
        os.fsync(journal)
        _write_at(file, content, start)
        os.fsync(file)
        return place.end
    finally:
        fcntl.flock(journal, fcntl.LOCK_UN)


def _whole(file: int, journal: int) -> dict[str, _Place]:
    """The appends that are whole, by key; one that was cut short is taken back from both files."""
    text = _all_of(journal)
    found = [_place(text[at : at + _WIDTH]) for at in range(0, len(text), _WIDTH)]
    places = {place.key: place for place in found if place is not None}
    last = max(places.values(), key=lambda place: place.number, default=None)
    size = os.fstat(file).st_size
    if last is not None and size < last.end:
        if size > last.start:
            os.ftruncate(file, last.start)
            os.fsync(file)
        _write_at(journal, _NOTHING, _slot(last))
        del places[last.key]
    return places


def _slot(place: _Place) -> int:
    return place.number % MOST_KEPT * _WIDTH


def _line(place: _Place) -> bytes:
    said = f"{place.number:020} {place.key:>64} {place.start:020} {place.end:020}"
    return f"{said} {zlib.crc32(said.encode()):08x}\n".encode()


def _place(line: bytes) -> _Place | None:
    said, _, check = line.decode("ascii", "replace").rstrip("\n").rpartition(" ")
    if len(line) != _WIDTH or check != f"{zlib.crc32(said.encode()):08x}":
        return None
    number, key, start, end = said.split()
    return _Place(int(number), key, int(start), int(end))


def _all_of(file: int) -> bytes:
    found, size = b"", os.fstat(file).st_size
    while chunk := os.pread(file, size, len(found)):
        found += chunk
    return found


def _write_at(file: int, content: bytes, start: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(file, view, start)
        view, start = view[written:], start + written
