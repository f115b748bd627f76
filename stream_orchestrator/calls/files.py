"""The service `files`: files below the allowed folders, and none beside them.

Promises
  * Nothing outside of the allowed folders is reached: a path is walked part by part from a folder held open, and no
    link is followed, whatever changes meanwhile.
  * A written file is whole or as it was before; it is on the disk when the answer says so.
  * An append is done once for its key, whatever is repeated (`calls.appends`).
Every step is a system call in a thread; the worker that does it is whichever owns the call, so folders are shared.
"""

from __future__ import annotations

import base64
import binascii
import errno
import fnmatch
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from stream_orchestrator.calls.appends import append_once
from stream_orchestrator.calls.provider import Job, ServiceFault, Threads
from stream_orchestrator.calls.service_settings import PREFIX, ServiceSettings

MOST_ENTRIES = 10_000
HIDDEN = ".stream-orchestrator."  # what our own files in a folder begin with
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe without a writer must not hold us up
_PASSES = frozenset({errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOSPC})


class Files:
    """Does what a `file_task` asks."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._roots = settings.file_roots
        self._threads = Threads("files")

    async def do(self, job: Job) -> Any:
        """Do it, in a thread."""
        return await self._threads.run(self._do, job)

    async def close(self) -> None:
        """Let the threads go."""
        self._threads.close()

    def _do(self, job: Job) -> dict[str, Any]:
        path = str(job.options["path"])
        root, parts = self._place(path)
        try:
            return _OPERATIONS[job.operation](job, root, parts, path)
        except OSError as error:
            raise _fault(error, path) from error

    def _place(self, path: str) -> tuple[Path, tuple[str, ...]]:
        """The allowed folder that a path is in, and the way from there."""
        if not self._roots:
            raise ServiceFault("not_configured", f"no folder is allowed: {PREFIX}FILES__ROOTS lists them")
        given = Path(path)
        if "\0" in path or ".." in given.parts:
            raise ServiceFault("blocked_path", f"`{path}` leads out of the folders that are allowed")
        if not given.is_absolute():
            return self._roots[0], given.parts
        for root in self._roots:
            if given.is_relative_to(root):
                return root, given.relative_to(root).parts
        raise ServiceFault("blocked_path", f"`{path}` is in none of the folders that are allowed")


def _read(job: Job, root: Path, parts: tuple[str, ...], path: str) -> dict[str, Any]:
    with _folder_of(root, parts) as (folder, name):
        content = _content_of(folder, name, job.max_size)
    if job.options.get("encoding") == "base64":
        return {"path": path, "content": base64.b64encode(content).decode(), "size": len(content)}
    try:
        return {"path": path, "content": content.decode(), "size": len(content)}
    except UnicodeDecodeError as error:
        raise ServiceFault("bad_content", f"`{path}` is no UTF-8 text; read it with `encoding: base64`") from error


def _content_of(folder: int, name: str, most: int) -> bytes:
    with _opened(name, os.O_RDONLY, folder) as file:
        found = b""
        while chunk := os.read(file, min(1024 * 1024, most + 1 - len(found))):
            found += chunk
            if len(found) > most:
                raise ServiceFault("too_large", f"`{name}` has more than {most:,} bytes; `max_size` allows more")
        return found


def _write(job: Job, root: Path, parts: tuple[str, ...], path: str) -> dict[str, Any]:
    content = _bytes_of(job)
    with _folder_of(root, parts, make=True) as (folder, name):
        _not_special(folder, name)
        made = f"{HIDDEN}{os.urandom(8).hex()}"  # of this attempt alone: one that was given up may still be writing
        try:
            file = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FILE, 0o644, dir_fd=folder)
            with _closing(file):
                _write_all(file, content)
                os.fsync(file)
            os.replace(made, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            with suppress(OSError):
                os.unlink(made, dir_fd=folder)
            raise
        os.fsync(folder)
    return {"path": path, "size": len(content)}


def _append(job: Job, root: Path, parts: tuple[str, ...], path: str) -> dict[str, Any]:
    content = _bytes_of(job)
    with _folder_of(root, parts, make=True) as (folder, name):
        with (
            _opened(name, os.O_RDWR | os.O_CREAT, folder) as file,
            _opened(f"{HIDDEN}{name[:200]}.appends", os.O_RDWR | os.O_CREAT, folder) as journal,
        ):
            end = append_once(file, journal, job.key, content)
        os.fsync(folder)
    return {"path": path, "size": end}


def _list(job: Job, root: Path, parts: tuple[str, ...], path: str) -> dict[str, Any]:
    pattern = str(job.options.get("pattern") or "*")
    with _folder(root, parts) as folder, os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(HIDDEN)]
        chosen = sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))
        if len(chosen) > MOST_ENTRIES:
            raise ServiceFault("too_large", f"`{path}` has more than {MOST_ENTRIES:,} entries; `pattern` chooses")
        return {"path": path, "entries": [_entry(folder, name) for name in chosen]}


def _entry(folder: int, name: str) -> dict[str, Any]:
    seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "folder"), (stat.S_ISLNK, "link"))
    kind = next((word for is_one, word in kinds if is_one(seen.st_mode)), "other")
    return {"name": name, "type": kind, "size": seen.st_size}


def _delete(job: Job, root: Path, parts: tuple[str, ...], path: str) -> dict[str, Any]:
    """The file is gone: by this attempt, an earlier one, or because it never was."""
    with suppress(FileNotFoundError), _folder_of(root, parts) as (folder, name):
        os.unlink(name, dir_fd=folder)
        os.fsync(folder)
    return {"path": path, "exists": False}


def _exists(job: Job, root: Path, parts: tuple[str, ...], path: str) -> dict[str, Any]:
    try:
        with _folder_of(root, parts) as (folder, name):
            entry = _entry(folder, name)
    except (FileNotFoundError, NotADirectoryError):
        return {"path": path, "exists": False}
    return {"path": path, "exists": True, "type": entry["type"], "size": entry["size"]}


_OPERATIONS = {
    "read": _read,
    "write": _write,
    "append": _append,
    "list": _list,
    "delete": _delete,
    "exists": _exists,
}


# --- the way to a file


@contextmanager
def _folder(root: Path, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
    """A folder below an allowed one, held open. Every part is opened from the one before it, and must be no link."""
    current = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=current)
            inner = os.open(part, _FOLDER, dir_fd=current)
            os.close(current)
            current = inner
        yield current
    finally:
        os.close(current)


@contextmanager
def _folder_of(root: Path, parts: tuple[str, ...], *, make: bool = False) -> Iterator[tuple[int, str]]:
    """The folder of a file, and the file's name in it."""
    if not parts:
        raise ServiceFault("blocked_path", "this names an allowed folder itself, and no file in it")
    if parts[-1].startswith(HIDDEN):
        raise ServiceFault("blocked_path", f"names that begin with `{HIDDEN}` are ours")
    with _folder(root, parts[:-1], make=make) as folder:
        yield folder, parts[-1]


@contextmanager
def _opened(name: str, flags: int, folder: int) -> Iterator[int]:
    file = os.open(name, flags | _FILE, 0o644, dir_fd=folder)
    with _closing(file):
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ServiceFault("blocked_path", f"`{name}` is no file")
        yield file


@contextmanager
def _closing(file: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(file)


def _not_special(folder: int, name: str) -> None:
    """Refuse to replace what is no file: a link or a folder there is somebody's arrangement."""
    with suppress(FileNotFoundError):
        if _entry(folder, name)["type"] != "file":
            raise ServiceFault("blocked_path", f"`{name}` is there, and is no file")


def _bytes_of(job: Job) -> bytes:
    content = job.options["content"]
    if job.options.get("encoding") == "base64":
        try:
            return base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise ServiceFault("bad_content", "`content` is not base64") from error
    return content.encode("utf-8", "replace") if isinstance(content, str) else orjson.dumps(content)


def _write_all(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def _fault(error: OSError, path: str) -> ServiceFault:
    if isinstance(error, FileNotFoundError):
        return ServiceFault("not_found", f"there is no `{path}`")
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
        return ServiceFault("blocked_path", f"`{path}` leads through a link, or through what is no folder")
    said = error.strerror or type(error).__name__
    return ServiceFault("file_error", f"`{path}`: {said}", retryable=error.errno in _PASSES)
