"""Files from folders and past the scanner: what is given, what is refused, and what waits."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from stream_orchestrator.calls.file_fetch import FileFetch
from stream_orchestrator.errors import MissingError
from stream_orchestrator.spec.config import Configuration, from_environ
from stream_orchestrator.spec.inputs import InputRules
from stream_orchestrator.trust.bringing import LONGEST_PAUSE, Bringer, refuse_without_scanner
from stream_orchestrator.trust.scanner import Scanner, ScannerAway

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"


class Clamd:
    """Speaks the protocol of clamd; `mood` is how it answers."""

    def __init__(self) -> None:
        self.mood, self.scanned = "works", 0
        self.server: Any = None

    async def start(self) -> str:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"tcp://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
        content = b""
        while size := struct.unpack(">I", await reader.readexactly(4))[0]:
            content += await reader.readexactly(size)
        self.scanned += 1
        if self.mood == "works":
            writer.write(b"stream: Eicar-Signature FOUND\0" if EICAR in content else b"stream: OK\0")
        elif self.mood == "limit":
            writer.write(b"INSTREAM size limit exceeded. ERROR\0")
        elif self.mood == "half":
            writer.write(b"stream: O")
        writer.close()


@pytest.fixture
async def clamd() -> AsyncIterator[tuple[Clamd, str]]:
    server = Clamd()
    url = await server.start()
    yield server, url
    server.server.close()
    await server.server.wait_closed()


def rules(**validation: Any) -> InputRules:
    return InputRules.from_plan({"doc": {"type": "file", "validation": validation or None}}, {})


def event(**file: str) -> bytes:
    return orjson.dumps({"doc": {"name": "a.txt", **file}})


def held(content: bytes) -> bytes:
    return event(content_base64=base64.b64encode(content).decode())


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


async def test_a_clean_file_passes_and_an_infected_one_is_refused_by_name(clamd: Any) -> None:
    server, url = clamd
    bring = Bringer(scanner=Scanner(url), sleep=no_sleep)
    clean = await bring(rules(virus_scan=True), held(b"hello" * 200_000))
    assert (clean.refused, clean.files, server.scanned) == (None, {"doc": ""}, 1)
    infected = await bring(rules(virus_scan=True), held(EICAR))
    assert "`doc`: the virus scanner found Eicar-Signature" in infected.refused["message"]


@pytest.mark.parametrize("mood", ["limit", "half", "silent"])
async def test_a_scanner_without_a_verdict_passes_nothing(clamd: Any, mood: str) -> None:
    server, url = clamd
    server.mood = mood
    with pytest.raises(ScannerAway):
        await Scanner(url).scan(b"hello")
    pauses = list[float]()

    async def counted(seconds: float) -> None:
        pauses.append(seconds)

    brought = await Bringer(scanner=Scanner(url), scanner_patience=30, sleep=counted)(
        rules(virus_scan=True), held(b"a")
    )
    assert 30 <= sum(pauses) <= 30 + LONGEST_PAUSE
    assert brought.refused is not None
    assert brought.files == {}
    assert server.scanned > 3, "it is asked again before the event is given up"


async def test_a_scanner_that_comes_back_is_waited_for(clamd: Any) -> None:
    server, url = clamd
    server.mood = "silent"

    async def mended(seconds: float) -> None:
        server.mood = "works"

    brought = await Bringer(scanner=Scanner(url), sleep=mended)(rules(virus_scan=True), held(b"hello"))
    assert brought.refused is None


async def test_without_a_scanner_nothing_passes_and_no_worker_starts() -> None:
    brought = await Bringer()(rules(virus_scan=True), held(b"hello"))
    assert "no scanner is set" in brought.refused["message"]  # type: ignore[index]
    with pytest.raises(MissingError, match="`Papers`") as caught:
        refuse_without_scanner({"Papers": rules(virus_scan=True), "Other": rules()}, Configuration())
    assert "STREAM_ORCHESTRATOR__SCANNER__URL" in caught.value.hint
    config = from_environ({"STREAM_ORCHESTRATOR__SCANNER__URL": "tcp://127.0.0.1:3310"})
    refuse_without_scanner({"Papers": rules(virus_scan=True)}, config)


async def test_a_file_comes_from_a_folder_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"hello")
    bring = Bringer(folders=(str(tmp_path),), sleep=no_sleep)
    for uri in ("a.txt", str(tmp_path / "a.txt"), f"file://{tmp_path}/a.txt"):
        brought = await bring(rules(), event(uri=uri))
        assert brought.files == {"doc": base64.b64encode(b"hello").decode()}, uri


@pytest.mark.parametrize(
    "uri",
    [
        *("../secret.txt", "link.txt", "/etc/hostname", "file:///etc/hostname", "http://127.0.0.1/a.txt", "a\0.txt"),
        *("pipe", "circle", "a" * 5_000, "a/" * 5_000),
    ],
)
async def test_no_other_file_is_read(tmp_path: Path, uri: str) -> None:
    import os

    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (tmp_path / "secret.txt").write_bytes(b"hush")
    (allowed / "link.txt").symlink_to(tmp_path / "secret.txt")
    (allowed / "circle").symlink_to(allowed / "circle")
    os.mkfifo(allowed / "pipe")
    brought = await Bringer(folders=(str(allowed),), patience=0, sleep=no_sleep)(rules(), event(uri=uri))
    assert brought.refused is not None
    assert brought.files == {}
    assert "hush" not in str(brought)


@pytest.mark.parametrize("folder", ["circle", "a\0b", "a" * 5_000])
async def test_of_a_folder_that_cannot_be_there_nothing_is_read(tmp_path: Path, folder: str) -> None:
    (tmp_path / "circle").symlink_to("circle")
    bring = Bringer(folders=(str(tmp_path / folder),), patience=0, sleep=no_sleep)
    assert (await bring(rules(), event(uri="a.txt"))).refused is not None


async def test_an_address_is_fetched_through_the_guard_and_bounded() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        status = {b"/a.txt": b"200 OK", b"/moved": b"302 Found\r\nlocation: /a.txt"}.get(path, b"404 Not Found")
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    opened = from_environ({"STREAM_ORCHESTRATOR__FETCH__ALLOWED_HOSTS": host})
    guarded, let = FileFetch.of(Configuration()), FileFetch.of(opened)
    cases = [(let, "/a.txt", rules(), ""), (let, "/moved", rules(), "302"), (let, "/none", rules(), "404")]
    cases += [
        (let, "/a.txt", rules(max_size=3), "larger than 3 bytes"),
        (guarded, "/a.txt", rules(), "cannot be fetched"),
    ]
    for fetch, path, asked, said in cases:
        bring = Bringer(fetch=fetch, patience=0, sleep=no_sleep)
        brought = await bring(asked, event(uri=f"http://{host}{path}"))
        assert (said in str(brought.refused)) if said else brought.files == {"doc": "aGVsbG8="}, (path, brought)
    await guarded.close()
    await let.close()
    server.close()
    await server.wait_closed()


async def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    async def written(seconds: float) -> None:
        (tmp_path / "late.txt").write_bytes(b"hello")

    brought = await Bringer(folders=(str(tmp_path),), sleep=written)(rules(), event(uri="late.txt"))
    assert brought.refused is None


async def test_of_a_file_that_is_too_large_no_more_is_read_than_shows_it(tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_bytes(b"a" * 5000)
    asked = rules(max_size="1kB")
    brought = await Bringer(folders=(str(tmp_path),), sleep=no_sleep)(asked, event(uri="big.txt"))
    assert len(base64.b64decode(brought.files["doc"])) == 1001
