"""What a file's content is, by its first bytes, and whether its name says so.

A table of our own: a library's grows with its releases, and the same event must be accepted or refused alike for ever.

Promises
  * A name whose ending we know is refused unless the content is that; any other name is refused when the content is
    plainly something that we know.
  * Time is linear in the content, and archives are never unpacked.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass

ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
OCTETS = "application/octet-stream"

# ending → (media type, [(offset, bytes)]: all must be there)
_SIGNATURES: tuple[tuple[str, str, tuple[tuple[int, bytes], ...]], ...] = (
    ("pdf", "application/pdf", ((0, b"%PDF-"),)),
    ("png", "image/png", ((0, b"\x89PNG\r\n\x1a\n"),)),
    ("jpg jpeg jpe jfif", "image/jpeg", ((0, b"\xff\xd8\xff"),)),
    ("gif", "image/gif", ((0, b"GIF87a"),)),
    ("gif", "image/gif", ((0, b"GIF89a"),)),
    ("webp", "image/webp", ((0, b"RIFF"), (8, b"WEBP"))),
    ("tif tiff", "image/tiff", ((0, b"II*\x00"),)),
    ("tif tiff", "image/tiff", ((0, b"MM\x00*"),)),
    ("bmp", "image/bmp", ((0, b"BM"), (6, b"\x00\x00\x00\x00"))),
    ("ico", "image/x-icon", ((0, b"\x00\x00\x01\x00"),)),
    ("heic", "image/heic", ((4, b"ftypheic"),)),
    ("avif", "image/avif", ((4, b"ftypavif"),)),
    ("wav", "audio/wav", ((0, b"RIFF"), (8, b"WAVE"))),
    ("avi", "video/x-msvideo", ((0, b"RIFF"), (8, b"AVI "))),
    ("mp3", "audio/mpeg", ((0, b"ID3"),)),
    ("mp3", "audio/mpeg", ((0, b"\xff\xfb"),)),
    ("mp3", "audio/mpeg", ((0, b"\xff\xf3"),)),
    ("flac", "audio/flac", ((0, b"fLaC"),)),
    ("ogg oga ogv opus", "audio/ogg", ((0, b"OggS"),)),
    ("mp4 m4a m4v mov", "video/mp4", ((4, b"ftyp"),)),
    ("mkv webm", "video/webm", ((0, b"\x1aE\xdf\xa3"),)),
    ("zip jar", "application/zip", ((0, ZIP),)),
    ("zip", "application/zip", ((0, b"PK\x05\x06"),)),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", ((0, ZIP),)),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ((0, ZIP),)),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation", ((0, ZIP),)),
    (
        "odt",
        "application/vnd.oasis.opendocument.text",
        ((0, ZIP), (30, b"mimetypeapplication/vnd.oasis.opendocument.text")),
    ),
    (
        "ods",
        "application/vnd.oasis.opendocument.spreadsheet",
        ((0, ZIP), (30, b"mimetypeapplication/vnd.oasis.opendocument.s")),
    ),
    (
        "odp",
        "application/vnd.oasis.opendocument.presentation",
        ((0, ZIP), (30, b"mimetypeapplication/vnd.oasis.opendocument.p")),
    ),
    ("epub", "application/epub+zip", ((0, ZIP), (30, b"mimetypeapplication/epub+zip"))),
    ("doc", "application/msword", ((0, OLE),)),
    ("xls", "application/vnd.ms-excel", ((0, OLE),)),
    ("ppt", "application/vnd.ms-powerpoint", ((0, OLE),)),
    ("msg", "application/vnd.ms-outlook", ((0, OLE),)),
    ("rtf", "application/rtf", ((0, b"{\\rtf"),)),
    ("gz tgz", "application/gzip", ((0, b"\x1f\x8b"),)),
    ("bz2", "application/x-bzip2", ((0, b"BZh"),)),
    ("xz", "application/x-xz", ((0, b"\xfd7zXZ\x00"),)),
    ("7z", "application/x-7z-compressed", ((0, b"7z\xbc\xaf'\x1c"),)),
    ("rar", "application/vnd.rar", ((0, b"Rar!\x1a\x07"),)),
    ("tar", "application/x-tar", ((257, b"ustar"),)),
    ("parquet", "application/vnd.apache.parquet", ((0, b"PAR1"),)),
    ("sqlite db", "application/vnd.sqlite3", ((0, b"SQLite format 3\x00"),)),
    ("exe dll", "application/vnd.microsoft.portable-executable", ((0, b"MZ"),)),
    ("elf so", "application/x-elf", ((0, b"\x7fELF"),)),
    ("class", "application/java-vm", ((0, b"\xca\xfe\xba\xbe"),)),
)
_PARTS = {"docx": "word/", "xlsx": "xl/", "pptx": "ppt/"}  # a folder that such an archive has
_TEXT = {
    "txt": "text/plain",
    "log": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "html": "text/html",
    "htm": "text/html",
    "xml": "application/xml",
    "svg": "image/svg+xml",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "eml": "message/rfc822",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "ics": "text/calendar",
}
_ENDINGS = frozenset(ending for endings, _, _ in _SIGNATURES for ending in endings.split())
# Two bytes prove nothing in a text: these are believed only where a name claims them, or the content is no text.
_WEAK = 3


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What a content is: its media type, its text (None: it is none), and why its name is wrong (empty: it is not)."""

    content_type: str
    text: str | None
    wrong: str = ""


def ending_of(name: str) -> str:
    """The ending of a name, lower case and without its dot; empty when it has none."""
    _, dot, ending = name.rpartition(".")
    return ending.lower() if dot else ""


def sniff(name: str, content: bytes) -> Sniffed:
    """What the content is, held against the name."""
    ending, text = ending_of(name), text_of(content)
    if ending in _ENDINGS:
        kind = next((kind for endings, kind, marks in _SIGNATURES if _claims(ending, endings, marks, content)), "")
        wrong = "" if kind and _has_parts(ending, content) else f"is no .{ending} file"
        return Sniffed(kind or OCTETS, None, wrong)
    other = _plainly(content, is_text=text is not None)
    if other:
        return Sniffed(other, None, f"is {other}, which a {f'.{ending}' if ending else 'nameless'} file is not")
    if ending in _TEXT:
        return Sniffed(_TEXT[ending], text, _no_text(ending, text))
    return Sniffed(OCTETS if text is None else "text/plain", text)


def text_of(content: bytes) -> str | None:
    """The content as text: UTF-8, or UTF-16 with its mark; without control characters. None when it is none."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if any(mark in text for mark in _CONTROL) else text


_CONTROL = tuple(map(chr, (*range(9), 14, *range(16, 27), 28, 29, 30, 31)))  # tab, line ends, form feed, escape may be


def _claims(ending: str, endings: str, marks: tuple[tuple[int, bytes], ...], content: bytes) -> bool:
    return ending in endings.split() and _shows(marks, content)


def _shows(marks: tuple[tuple[int, bytes], ...], content: bytes) -> bool:
    return all(content[at : at + len(mark)] == mark for at, mark in marks)


def _plainly(content: bytes, *, is_text: bool) -> str:
    for _, kind, marks in _SIGNATURES:
        strong = sum(len(mark) for _, mark in marks) > _WEAK
        if (strong or not is_text) and _shows(marks, content):
            return kind
    return ""


def _has_parts(ending: str, content: bytes) -> bool:
    if ending not in _PARTS:
        return True
    try:
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()  # reads the directory at its end, unpacks nothing
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return False
    return any(name.startswith(_PARTS[ending]) for name in names)


def _no_text(ending: str, text: str | None) -> str:
    if text is None:
        return f"is no text, which a .{ending} file is"
    if ending == "json":
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return "is no JSON, which a .json file is"
    return ""
