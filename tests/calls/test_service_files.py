"""`files`: what is allowed, what is whole, and what is done once."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.services import job

from stream_orchestrator.calls import appends
from stream_orchestrator.calls.appends import append_once
from stream_orchestrator.calls.files import HIDDEN, Files
from stream_orchestrator.calls.provider import ServiceFault
from stream_orchestrator.calls.service_settings import ServiceSettings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "root"


@pytest.fixture
async def files(root: Path) -> AsyncIterator[Files]:
    files = Files(ServiceSettings(file_roots=(root,)))
    yield files
    await files.close()


async def do(files: Files, operation: str, path: str, *, key: str = "k", **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = await files.do(job(operation, {"path": path, **options}, key=key))
    return found


async def failed(files: Files, operation: str, path: str, **options: Any) -> ServiceFault:
    with pytest.raises(ServiceFault) as caught:
        await do(files, operation, path, **options)
    return caught.value


EVERY = ["read", "write", "append", "list", "delete", "exists"]


# --- what is refused


@pytest.mark.parametrize("operation", EVERY)
@pytest.mark.parametrize("path", ["../secret.txt", "a/../../secret.txt", "/etc/passwd", "/", "a\0b", "//etc/passwd"])
async def test_a_path_that_leads_out_is_refused(files: Files, root: Path, operation: str, path: str) -> None:
    fault = await failed(files, operation, path, content="x")
    assert (fault.error_type, fault.retryable) == ("blocked_path", False)
    assert (root.parent / "secret.txt").read_text() == "secret"


@pytest.mark.parametrize("operation", ["read", "write", "append"])
async def test_a_link_that_leads_out_is_not_followed(files: Files, root: Path, operation: str) -> None:
    (root / "file").symlink_to(root.parent / "secret.txt")
    (root / "folder").symlink_to(root.parent)
    for path in ("file", "folder/secret.txt"):
        assert (await failed(files, operation, path, content="x")).error_type == "blocked_path"
    assert (root.parent / "secret.txt").read_text() == "secret"


async def test_a_link_is_deleted_and_not_what_it_leads_to(files: Files, root: Path) -> None:
    (root / "file").symlink_to(root.parent / "secret.txt")
    assert (await do(files, "exists", "file"))["type"] == "link"
    await do(files, "delete", "file")
    assert (root.parent / "secret.txt").exists()
    assert not (root / "file").is_symlink()


@pytest.mark.parametrize("operation", ["read", "append", "write"])
async def test_what_is_no_file_is_refused_at_once(files: Files, root: Path, operation: str) -> None:
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    assert (await failed(files, operation, "pipe", content="x")).error_type in {"blocked_path", "file_error"}
    assert (await failed(files, operation, "folder", content="x")).error_type in {"blocked_path", "file_error"}
    assert (root / "folder").is_dir()


async def test_without_folders_nothing_is_allowed() -> None:
    files = Files(ServiceSettings())
    assert "FILES__ROOTS" in str(await failed(files, "read", "a"))
    await files.close()


async def test_our_own_files_are_not_the_pipeline_s(files: Files) -> None:
    await do(files, "append", "a.txt", content="x")
    assert (await failed(files, "read", f"{HIDDEN}a.txt.appends")).error_type == "blocked_path"
    assert [each["name"] for each in (await do(files, "list", "."))["entries"]] == ["a.txt"]


async def test_a_file_that_is_not_there_or_too_large_or_no_text_is_a_fault(files: Files, root: Path) -> None:
    (root / "large").write_bytes(b"x" * 1001)
    (root / "bytes").write_bytes(b"\xff")
    assert (await failed(files, "read", "none")).error_type == "not_found"
    assert (await failed(files, "read", "none/none")).error_type == "not_found"
    assert (await failed(files, "read", "large", max_size=1000)).error_type == "too_large"
    assert (await failed(files, "read", "bytes")).error_type == "bad_content"
    assert (await failed(files, "write", "a", content="no base64!", encoding="base64")).error_type == "bad_content"


async def test_a_write_that_fails_leaves_the_old_file_whole(
    files: Files, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await do(files, "write", "a", content="old")

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    fault = await failed(files, "write", "a", content="new")
    monkeypatch.undo()
    assert (fault.error_type, fault.retryable) == ("file_error", True)
    assert (root / "a").read_text() == "old"
    assert os.listdir(root) == ["a"]


# --- what is done


async def test_what_is_written_is_read(files: Files, root: Path) -> None:
    assert await do(files, "write", "a/b/c.txt", content="grün") == {"path": "a/b/c.txt", "size": 5}
    assert await do(files, "read", "a/b/c.txt") == {"path": "a/b/c.txt", "content": "grün", "size": 5}
    assert (await do(files, "read", str(root / "a/b/c.txt")))["content"] == "grün"
    await do(files, "write", "a/b/c.txt", content={"x": 1})
    assert (root / "a/b/c.txt").read_text() == '{"x":1}'


async def test_bytes_travel_as_base64(files: Files, root: Path) -> None:
    text = base64.b64encode(b"\x00\xff").decode()
    await do(files, "write", "b", content=text, encoding="base64")
    assert (root / "b").read_bytes() == b"\x00\xff"
    assert (await do(files, "read", "b", encoding="base64"))["content"] == text


async def test_a_folder_is_listed_in_order(files: Files, root: Path) -> None:
    for name in ("b.json", "a.json", "c.txt"):
        (root / name).write_text("x")
    (root / "d.json").mkdir()
    found = await do(files, "list", ".", pattern="*.json")
    assert [(each["name"], each["type"], each["size"]) for each in found["entries"][:2]] == [
        ("a.json", "file", 1),
        ("b.json", "file", 1),
    ]
    assert found["entries"][2]["type"] == "folder"


async def test_deleting_twice_is_deleting(files: Files, root: Path) -> None:
    (root / "a").write_text("x")
    for _ in range(2):
        assert await do(files, "delete", "a") == {"path": "a", "exists": False}
    assert await do(files, "exists", "a") == {"path": "a", "exists": False}


async def test_an_append_is_done_once_for_its_key(files: Files, root: Path) -> None:
    first = await do(files, "append", "log", content="one\n", key="k1")
    assert await do(files, "append", "log", content="one\n", key="k1") == first
    await do(files, "append", "log", content="two\n", key="k2")
    assert await do(files, "append", "log", content="one\n", key="k1") == first
    assert (root / "log").read_text() == "one\ntwo\n"


async def test_appends_beside_each_other_are_all_there(files: Files, root: Path) -> None:
    import asyncio

    keys = [f"k{number}" for number in range(40)]
    await asyncio.gather(*(do(files, "append", "log", content=f"{key}\n", key=key) for key in keys * 2))
    assert sorted((root / "log").read_text().split()) == sorted(keys)


class Crash(BaseException):
    """The process ends here."""


class Disk:
    """Counts what changes a file, and ends the process before one of these steps, or in the middle of it."""

    def __init__(self, crash_at: int = 0, half: bool = False) -> None:
        self.steps, self.crash_at, self.half = 0, crash_at, half

    def pwrite(self, file: int, data: Any, at: int) -> int:
        self.steps += 1
        if self.steps == self.crash_at:
            if self.half:
                os.pwrite(file, bytes(data)[: len(data) // 2], at)
            raise Crash
        return os.pwrite(file, data, at)

    def ftruncate(self, file: int, size: int) -> None:
        self.steps += 1
        if self.steps == self.crash_at:
            raise Crash
        os.ftruncate(file, size)


def append(folder: Path, key: str, content: bytes) -> None:
    flags = os.O_RDWR | os.O_CREAT
    file, journal = os.open(folder / "log", flags), os.open(folder / "journal", flags)
    try:
        append_once(file, journal, key, content)
    finally:
        os.close(file)
        os.close(journal)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("then", ["repeated", "another comes first"])
def test_an_append_is_whole_and_once_wherever_the_process_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool, then: str
) -> None:
    monkeypatch.setattr(appends, "MOST_KEPT", 2)  # so that the journal is made anew on the way
    for crash_at in range(1, 30):
        folder = tmp_path / f"{crash_at}"
        folder.mkdir()
        disk, done = Disk(crash_at, half), []
        monkeypatch.setattr(appends, "os", _Os(disk))
        for number in range(7):
            key, content = f"k{number}", f"line {number}\n".encode()
            try:
                append(folder, key, content)
            except Crash:
                if then == "another comes first":
                    append(folder, "other", b"other\n")
                append(folder, key, content)
            done.append(content)
        lines = (folder / "log").read_bytes().splitlines(keepends=True)
        assert sorted(set(lines) - {b"other\n"}) == sorted(done), f"crash at {crash_at}"
        assert len(lines) == len(set(lines)), f"crash at {crash_at}: something is there twice"
    assert disk.steps < 30, "every step was tried"


class _Os:
    """`os`, with a disk that fails."""

    def __init__(self, disk: Disk) -> None:
        self.pwrite, self.ftruncate = disk.pwrite, disk.ftruncate

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@given(st.text(alphabet="ab./\\ \0", max_size=12))
@settings(max_examples=200)
def test_no_path_leads_out(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    folder = tmp_path_factory.mktemp("any") / "root"
    folder.mkdir()
    files = Files(ServiceSettings(file_roots=(folder,)))
    try:
        root, parts = files._place(path)
    except ServiceFault:
        return
    inside = os.path.normpath(os.path.join(root, *parts))
    assert inside == str(folder) or inside.startswith(f"{folder}/")
