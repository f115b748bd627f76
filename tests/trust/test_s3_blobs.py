"""Large values in an S3-compatible store: a small one of ours, which knows the requests that we make."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest

from stream_orchestrator.errors import MissingError
from stream_orchestrator.trust.blobs import blobs_at, hour_of
from stream_orchestrator.trust.s3_blobs import S3Blobs

NOW = 1_800_000_000.0
HOUR, NAME, OTHER = hour_of(NOW), "a" * 64, "b" * 64


class Store(BaseHTTPRequestHandler):
    """`/bucket/key`: PUT, GET, DELETE, list and delete many."""

    objects: dict[str, bytes]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._bucket == "closed":
            return self._say(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        self.objects[self._key] = body
        return self._say(200, "")

    def do_GET(self) -> None:
        if "list-type" in self._query:
            return self._say(200, self._listed())
        body = self.objects.get(self._key)
        if body is None:
            return self._say(404, "<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>")
        return self._say(200, body)

    def do_DELETE(self) -> None:
        self.objects.pop(self._key, None)
        self._say(204, "")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        for each in ElementTree.fromstring(body).iter():
            if each.tag.endswith("Key") and each.text:
                self.objects.pop(each.text, None)
        self._say(200, "<DeleteResult/>")

    @property
    def _query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)

    @property
    def _bucket(self) -> str:
        return unquote(urlsplit(self.path).path).strip("/").split("/", 1)[0]

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

    def _listed(self) -> str:
        prefix, delimiter = self._query.get("prefix", [""])[0], self._query.get("delimiter", [""])[0]
        keys = [key for key in sorted(self.objects) if key.startswith(prefix)]
        below = {key: key[len(prefix) :].partition(delimiter) for key in keys} if delimiter else {}
        folders = sorted({prefix + head + delimiter for head, found, _ in below.values() if found})
        files = [key for key in keys if not below or not below[key][1]]
        contents = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in files)
        common = "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in folders)
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}{common}</ListBucketResult>"

    def _say(self, status: int, body: str | bytes) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    found: dict[str, bytes] = {}
    handler = type("Handler", (Store,), {"objects": found})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def store(objects: dict[str, bytes]) -> Iterator[S3Blobs]:
    found = blobs_at("s3://bucket/large/values/")
    assert isinstance(found, S3Blobs)
    yield found
    found._client.close()


def test_a_store_that_is_not_there_or_closed_is_missing_with_what_to_do(objects: dict[str, bytes]) -> None:
    with pytest.raises(MissingError, match="AccessDenied") as caught:
        blobs_at("s3://closed/x").check()
    assert "AWS_ENDPOINT_URL" in caught.value.hint


def test_a_value_that_is_gone_is_told_from_a_store_that_fails(store: S3Blobs) -> None:
    with pytest.raises(FileNotFoundError):
        store.get(f"{HOUR}/{NAME}", 10)
    with pytest.raises(OSError, match="AccessDenied"):
        S3Blobs("closed", "").put(f"{HOUR}/{NAME}", b"x")


def test_what_is_kept_comes_back_and_never_more_than_was_asked_for(store: S3Blobs, objects: dict[str, bytes]) -> None:
    store.check()
    assert objects == {}, "a check leaves nothing behind"
    store.put(f"{HOUR}/{NAME}", b"0123456789")
    store.put(f"{HOUR}/{NAME}", b"0123456789")
    assert store.get(f"{HOUR}/{NAME}", 10) == b"0123456789"
    assert store.get(f"{HOUR}/{NAME}", 3) == b"0123"
    assert list(objects) == [f"large/values/{HOUR}/{NAME}"]
    assert store.uri == "s3://bucket/large/values"


def test_a_sweep_is_bounded_takes_passed_hours_and_leaves_what_is_not_ours(
    store: S3Blobs, objects: dict[str, bytes]
) -> None:
    before = hour_of(NOW - 3600)
    ours = [f"large/values/{before}/{name}" for name in (NAME, OTHER)]
    strangers = [f"large/values/{before}/notes.txt", f"large/values/{HOUR}/{NAME}", f"{before}/{NAME}", "large/other"]
    objects.update(dict.fromkeys([*ours, *strangers], b"x"))
    assert store.sweep(NOW, 1) == 1
    assert store.sweep(NOW, 10) == 1
    assert store.sweep(NOW, 10) == 0
    assert sorted(objects) == sorted(strangers)
