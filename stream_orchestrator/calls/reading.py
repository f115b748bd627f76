"""What a reader sees of a page: its title, its text, its links. Hostile pages cost bounded time and memory.

Run as a program, it reads one page from stdin and writes what it found to stdout: how `read_apart` keeps hostile ones
apart. (A few megabytes of opened and never closed elements keep a parser of HTML busy for minutes.)
"""

from __future__ import annotations

import asyncio
import io
import re
import resource
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import msgspec
from msgspec import Struct

from stream_orchestrator.calls.provider import ServiceFault

MOST_SECONDS = 60.0
MOST_BYTES = 1024 * 1024 * 1024  # of memory, for what is at most some megabytes of file
MOST_TEXT = 4_000_000  # characters: the larger part of the largest record
MOST_LINKS = 5_000
_UNREAD = ("script", "style", "noscript", "template", "svg", "iframe", "head")
_BLOCKS = frozenset(
    """address article aside blockquote br dd div dl dt figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr li
    main nav ol p pre section table tr ul""".split()  # noqa: SIM905
)
_SPACES = re.compile(r"[ \t\r\f\v\u00a0]+")
_LINES = re.compile(r"\s*\n\s*")


class Order(Struct, frozen=True, kw_only=True):
    """What is to be read, and how."""

    kind: Literal["pdf", "html"]
    url: str = ""
    charset: str = ""


class Reading(Struct, frozen=True, kw_only=True):
    """What was read."""

    title: str = ""
    text: str = ""
    links: list[str] = []


def charset_of(headers: Mapping[str, str]) -> str:
    """The encoding that the server says, or nothing."""
    _, found, rest = headers.get("content-type", "").lower().partition("charset=")
    return rest.split(";")[0].strip().strip("\"'") if found else ""


def read_text(body: bytes, charset: str) -> Reading:
    """A page of plain text."""
    return Reading(text=_decoded(body, charset)[:MOST_TEXT])


def read_html(body: bytes, url: str, charset: str) -> Reading:
    """A page of HTML: text as it stands in blocks, links whole and once each."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(_decoded(body, charset or _declared(body)))
    titled = tree.css_first("title")
    title = " ".join(titled.text().split()) if titled is not None else ""
    based = tree.css_first("base[href]")
    base = urljoin(url, (based.attributes.get("href") or "") if based is not None else "")
    links = _links((node.attributes.get("href") or "" for node in tree.css("a[href]")), base)
    for node in tree.css(", ".join(_UNREAD)):
        node.decompose()
    return Reading(title=title, text=_text_of(tree)[:MOST_TEXT], links=links)


def _text_of(tree: Any) -> str:
    """Text of inline elements runs on; a block stands on lines of its own."""
    parts: list[str] = []
    stack = [] if tree.body is None else [(tree.body, False)]
    while stack:
        node, left = stack.pop()
        if node.tag == "-text":
            parts.append(_SPACES.sub(" ", (node.text_content or "").replace("\n", " ")))
            continue
        parts.append("\n" if node.tag in _BLOCKS else " " if node.tag in {"td", "th"} else "")
        if not left:
            stack.append((node, True))
            stack += [(child, False) for child in reversed(list(node.iter(include_text=True)))]
    return _LINES.sub("\n", _SPACES.sub(" ", "".join(parts))).strip()


def _links(hrefs: Iterable[str], base: str) -> list[str]:
    found: dict[str, None] = {}
    for href in hrefs:
        try:
            whole = urljoin(base, href.strip()).partition("#")[0]
            scheme = urlsplit(whole).scheme
        except ValueError:  # brackets that are no address
            continue
        if scheme in {"http", "https"} and len(found) < MOST_LINKS:
            found[whole] = None
    return list(found)


def _declared(body: bytes) -> str:
    found = re.search(rb"""<meta[^>]{0,200}?charset=["']?([\w-]{2,40})""", body[:4096], re.IGNORECASE)
    return found[1].decode("ascii", "replace") if found else ""


def _decoded(body: bytes, charset: str) -> str:
    for name in (charset, "utf-8", "cp1252"):
        try:
            return body.decode(name or "utf-8")
        except (UnicodeDecodeError, LookupError):
            continue
    return body.decode("latin-1")


async def read_apart(order: Order, body: bytes, *, seconds: float) -> Reading:
    """A page, read by a process of its own. What it cannot read in time is a `ServiceFault`."""
    seconds = max(0.1, min(seconds, MOST_SECONDS))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", __name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    try:
        async with asyncio.timeout(seconds):
            said, _ = await child.communicate(msgspec.json.encode(order) + b"\n" + body)
    except TimeoutError:
        raise ServiceFault("unreadable", f"the page could not be read within {seconds:.0f} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    try:
        return msgspec.json.decode(said, type=Reading)
    except ValueError as error:
        raise ServiceFault("unreadable", "the page is broken, encrypted, or too large to be read") from error


def _read_pdf(body: bytes) -> Reading:
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(body))
    pages, size = [], 0
    for page in reader.pages:
        pages.append(page.extract_text())
        size += len(pages[-1])
        if size > MOST_TEXT:
            break
    title = (reader.metadata.title if reader.metadata else "") or ""
    return Reading(title=_whole(str(title)), text=_whole("\n".join(pages)[:MOST_TEXT]))


def _whole(text: str) -> str:
    """Without half characters, which no JSON holds."""
    return text.encode("utf-8", "replace").decode()


def main() -> None:
    """Read what stdin holds, an order and then a page, under limits of its own."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (round(MOST_SECONDS), round(MOST_SECONDS)))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    line, _, body = sys.stdin.buffer.read().partition(b"\n")
    order = msgspec.json.decode(line, type=Order)
    found = _read_pdf(body) if order.kind == "pdf" else read_html(body, order.url, order.charset)
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
