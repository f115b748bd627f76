"""Inputs of type `file`: their shape, their rules, and whether the content is what the name says."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_orchestrator.spec.filetypes import sniff
from stream_orchestrator.spec.inputs import InputRules, InvalidInput

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


def docx() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<document/>")
    return made.getvalue()


def rules(**validation: Any) -> InputRules:
    return InputRules.from_plan({"doc": {"type": "file", "validation": validation or None}}, {})


def check(content: bytes, name: str = "a.txt", *, brought: Any = None, **validation: Any) -> Any:
    value = {"name": name, "content_base64": base64.b64encode(content).decode()}
    return rules(**validation).check(orjson.dumps({"doc": value}), brought)["doc"]


def test_a_script_gets_name_type_size_hash_content_and_text() -> None:
    assert check("grün".encode()) == {
        "name": "a.txt",
        "content_type": "text/plain",
        "bytes": 5,
        "sha256": hashlib.sha256("grün".encode()).hexdigest(),
        "content_base64": base64.b64encode("grün".encode()).decode(),
        "text": "grün",
    }
    assert "text" not in check(PNG, "a.png")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pdf", b"%PDF-1.7\n"),
        ("A.PNG", PNG),
        ("a.jpeg", b"\xff\xd8\xff\xe0rest"),
        ("a.docx", docx()),
        ("a.zip", docx()),
        ("a.json", b'{"a": 1}'),
        ("a.csv", b"BM,MZ,ID3\n1,2,3\n"),
        ("a.txt", "\ufeffwith a mark".encode("utf-16")),
        ("a.unknown", b"\x00\x01\x02"),
        ("README", b"plain text"),
    ],
)
def test_content_that_its_name_says_is_accepted(name: str, content: bytes) -> None:
    assert check(content, name)["bytes"] == len(content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pdf", b"MZ\x90\x00"),
        ("a.png", b"\xff\xd8\xff\xe0"),
        ("a.txt", PNG),
        ("a.txt", b"%PDF-1.7\n"),
        ("a.txt", b"text\x00with nulls"),
        ("a.json", b"{not json"),
        ("a.docx", b"PK\x03\x04 but no archive"),
        ("a.xlsx", docx()),
        ("a.jpg", b""),
        ("a.data", b"\x7fELF\x02"),
        ("README", b"MZ\x90\x00\xff"),
    ],
)
def test_content_that_is_something_else_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"\(content\)"):
        check(content, name)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("text", "must be a file"),
        ({"content_base64": ""}, "must be a file"),
        ({"name": "a.txt"}, "`content_base64` or `uri`"),
        ({"name": "a.txt", "content_base64": "", "uri": "x"}, "`content_base64` or `uri`"),
        ({"name": "a.txt", "content_base64": 5}, "must have text"),
        ({"name": "a.txt", "content_base64": "not base64!"}, "must have base64"),
        ({"name": "../a.txt", "content_base64": ""}, "without folders"),
        ({"name": "a\u202etxt", "content_base64": ""}, "printable"),
        ({"name": "a.txt", "content_base64": "", "path": "/etc"}, "`path`"),
        ({"name": "a.txt", "uri": "a.txt"}, "was not fetched"),
    ],
)
def test_what_is_no_file_is_refused_and_says_why(value: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        rules().check(orjson.dumps({"doc": value}))
    assert said in str(caught.value)


def test_extensions_and_size_are_kept() -> None:
    assert check(b"x" * 1000, "a.TXT", allowed_extensions=[".txt"], max_size="1kB")["bytes"] == 1000
    with pytest.raises(InvalidInput, match=r"1,001 bytes, at most 1,000 .*\(max_size\)"):
        check(b"x" * 1001, max_size="1kB")
    with pytest.raises(InvalidInput, match=r"ends in one of: csv, pdf \(allowed_extensions\)"):
        check(b"x", "a.txt", allowed_extensions=["pdf", ".csv"])


def test_a_file_that_was_not_scanned_does_not_pass() -> None:
    with pytest.raises(InvalidInput, match="was not scanned"):
        check(b"x", virus_scan=True)
    assert check(b"x", virus_scan=True, brought={"doc": ""})["text"] == "x"


def test_only_what_needs_it_is_brought() -> None:
    held = orjson.dumps({"doc": {"name": "a.txt", "content_base64": ""}})
    referred = orjson.dumps({"doc": {"name": "a.txt", "uri": "a.txt"}})
    assert [bool(rules().to_bring(raw)) for raw in (held, referred)] == [False, True]
    assert [bool(rules(virus_scan=True).to_bring(raw)) for raw in (held, referred)] == [True, True]
    assert rules(virus_scan=True, allowed_extensions=["pdf"]).to_bring(held) == {}
    assert rules(virus_scan=True).to_bring(b"{") == {}


@given(st.sampled_from(["a.txt", "a.pdf", "a.docx", "a.bin", "a"]), st.binary(max_size=300))
def test_any_content_is_sniffed_alike_twice_and_never_fails(name: str, content: bytes) -> None:
    assert sniff(name, content) == sniff(name, content)
