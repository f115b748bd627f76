"""`web`: pages are fetched as a well-behaved reader does, and read."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject
from support.services import WebServer, hangs, hangs_up, job, says

from stream_orchestrator.calls import reading
from stream_orchestrator.calls.fetch import Fetcher
from stream_orchestrator.calls.provider import ServiceFault
from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.calls.web import Web
from stream_orchestrator.trust.addresses import AddressGuard

LOCAL = ServiceSettings(guard=AddressGuard.of(["127.0.0.1"]))


@pytest.fixture
async def server() -> AsyncIterator[WebServer]:
    async with WebServer() as server:
        yield server


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    web = Web(LOCAL)
    yield web
    await web.close()


async def read(web: Web, url: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = await web.do(job("read", {"url": url, **options}))
    return found


async def failed(web: Web, url: str, **options: Any) -> ServiceFault:
    with pytest.raises(ServiceFault) as caught:
        await read(web, url, **options)
    return caught.value


def pdf(text: str, title: str = "") -> bytes:
    """A PDF of one page with a line of text."""
    writer = PdfWriter()
    page = writer.add_blank_page(300, 300)
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    stream = DecodedStreamObject()
    stream.set_data(f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode())
    page[NameObject("/Contents")] = writer._add_object(stream)
    if title:
        writer.add_metadata({"/Title": title})
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


# --- failure first


async def test_a_page_that_robots_txt_forbids_is_not_fetched(web: Web, server: WebServer) -> None:
    server.pages["/robots.txt"] = says("User-agent: *\nDisallow: /private\nAllow: /private/open", kind="text/plain")
    server.pages["/private/open"] = says("<p>open</p>")
    fault = await failed(web, server.url("/private/a"))
    assert (fault.error_type, fault.retryable) == ("robots_denied", False)
    assert (await read(web, server.url("/private/open")))["text"] == "open"
    assert server.paths() == ["/robots.txt", "/private/open"], "rules are asked once, and the page never"


async def test_robots_txt_may_speak_to_us_by_name_and_with_wildcards(web: Web, server: WebServer) -> None:
    rules = "User-agent: stream-orchestrator\nDisallow: /*.cgi$\n\nUser-agent: *\nDisallow: /"
    server.pages["/robots.txt"] = says(rules, kind="text/plain")
    server.pages["/a"] = says("<p>a</p>")
    assert (await read(web, server.url("/a")))["text"] == "a"
    assert (await failed(web, server.url("/x.cgi"))).error_type == "robots_denied"


@pytest.mark.parametrize("answer", [says("", 503), says("", 429), hangs_up])
async def test_where_robots_txt_cannot_be_had_nothing_is_fetched(web: Web, server: WebServer, answer: Any) -> None:
    server.pages |= {"/robots.txt": answer, "/a": says("<p>a</p>")}
    fault = await failed(web, server.url("/a"))
    assert (fault.retryable, fault.ambiguous) == (True, False)
    assert set(server.paths()) == {"/robots.txt"}
    server.pages["/robots.txt"] = says("", 404)
    assert (await read(web, server.url("/a")))["text"] == "a"


async def test_pages_of_our_own_need_no_robots_txt(web: Web, server: WebServer) -> None:
    server.pages |= {"/robots.txt": says("User-agent: *\nDisallow: /", kind="text/plain"), "/a": says("<p>a</p>")}
    assert (await read(web, server.url("/a"), obey_robots=False))["text"] == "a"
    assert server.paths() == ["/a"]


@pytest.mark.parametrize(
    "to",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:{port}/b",
        "http://[::1]:{port}/b",
        "file:///etc/passwd",
    ],
)
async def test_a_redirect_to_an_address_of_ours_is_refused(web: Web, server: WebServer, to: str) -> None:
    server.pages["/a"] = says("", 302, location=to.format(port=server.port))
    server.pages["/b"] = says("<p>secret</p>")
    fault = await failed(web, server.url("/a"))
    assert fault.error_type in {"blocked_address", "bad_request"}
    assert "/b" not in server.paths()


async def test_a_redirect_to_an_address_without_tls_is_refused_where_tls_is_wanted(web: Web, server: WebServer) -> None:
    server.pages["/"] = says(status=302, location="http://shop.example/")
    fault = await failed(web, server.url(), obey_robots=False, tls=True)
    assert fault.error_type == "blocked_address"
    assert "encryption_in_transit" in str(fault)


async def test_a_name_with_one_address_of_ours_among_others_is_refused(server: WebServer) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "127.0.0.1"]

    web = Web(ServiceSettings(), fetcher=Fetcher(AddressGuard(), lookup=lookup))
    assert (await failed(web, server.url("/a", host="two.example"))).error_type == "blocked_address"
    await web.close()
    assert server.seen == []


async def test_redirects_without_an_end_have_one(web: Web, server: WebServer) -> None:
    server.pages["/a"] = says("", 302, location="/a")
    assert (await failed(web, server.url("/a"))).error_type == "redirected"
    assert server.paths().count("/a") == 6


@pytest.mark.parametrize(
    ("answer", "error_type", "retryable"),
    [
        (says("", 404), "not_found", False),
        (says("", 500), "server_error", True),
        (says(b"\x00\x01", kind="image/png"), "unsupported_content", False),
        (says(b"%PDF-1.7 broken", kind="application/pdf"), "unreadable", False),
        (hangs_up, "disconnected", True),
    ],
)
async def test_a_page_that_cannot_be_read_is_a_fault(
    web: Web, server: WebServer, answer: Any, error_type: str, retryable: bool
) -> None:
    server.pages["/a"] = answer
    fault = await failed(web, server.url("/a"))
    assert (fault.error_type, fault.retryable) == (error_type, retryable)


async def test_a_busy_server_says_when_to_come_again(web: Web, server: WebServer) -> None:
    server.pages["/a"] = says("", 429, retry_after="11")
    assert (await failed(web, server.url("/a"))).retry_after == 11.0


async def test_a_page_that_is_too_large_is_not_read(web: Web, server: WebServer) -> None:
    server.pages["/a"] = says("<p>" + "x" * 200_000)
    assert (await failed(web, server.url("/a"), max_size=100_000)).error_type == "too_large"


async def test_a_page_that_never_comes_is_given_up(web: Web, server: WebServer) -> None:
    server.pages["/a"] = hangs
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await read(web, server.url("/a"))


async def test_a_page_that_takes_too_long_is_killed(web: Web, server: WebServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(reading, "MOST_SECONDS", 0.6)
    server.pages["/a"] = says("<div>" * 500_000)
    fault = await failed(web, server.url("/a"))
    assert (fault.error_type, fault.retryable) == ("unreadable", False)
    assert "within" in str(fault)


# --- what a reader sees


async def test_a_page_is_read_with_its_title_text_and_links(web: Web, server: WebServer) -> None:
    server.pages["/dir/a"] = says(
        """<html><head><title> A  page </title><style>p {color: red}</style></head><body><h1>Head</h1>
        <p>One <b>bo</b>ld word.</p><p>Two&nbsp;&amp; three</p><script>var no = 1</script><noscript>none</noscript>
        <table><tr><td>a</td><td>b</td></tr></table>
        <a href="b?x=1#part">b</a> <a href="/c">c</a> <a href="b?x=1">again</a> <a href="mailto:a@b">mail</a>
        <a href="javascript:alert(1)">js</a> <a href="http://[bad">bad</a> <a>none</a></body></html>"""
    )
    assert await read(web, server.url("/dir/a")) == {
        "url": server.url("/dir/a"),
        "title": "A page",
        "text": "Head\nOne bold word.\nTwo & three\na b\nb c again mail js bad none",
        "links": [server.url("/dir/b?x=1"), server.url("/c")],
        "content_type": "text/html",
    }


async def test_the_address_of_a_page_is_where_it_was_in_the_end(web: Web, server: WebServer) -> None:
    server.pages |= {"/a": says("", 301, location="/dir/b"), "/dir/b": says('<a href="c">c</a>')}
    found = await read(web, server.url("/a"))
    assert (found["url"], found["links"]) == (server.url("/dir/b"), [server.url("/dir/c")])


async def test_a_large_page_is_read_as_a_small_one_is(web: Web, server: WebServer) -> None:
    server.pages["/a"] = says("<title>t</title>" + "<p>word <a href='b'>b</a></p>" * 3000)
    found = await read(web, server.url("/a"))
    assert (found["title"], found["text"], found["links"]) == ("t", "\n".join(["word b"] * 3000), [server.url("/b")])


async def test_a_pdf_is_read(web: Web, server: WebServer) -> None:
    server.pages["/a.pdf"] = says(pdf("Methods and findings", "A study"), kind="application/pdf")
    found = await read(web, server.url("/a.pdf"))
    assert (found["title"], found["text"], found["content_type"]) == (
        "A study",
        "Methods and findings",
        "application/pdf",
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<p>grün</p>".encode("latin-1"), "text/html; charset=ISO-8859-1"),
        ('<meta charset="iso-8859-1"><p>grün</p>'.encode("latin-1"), "text/html"),
        ("<p>grün</p>".encode(), "text/html"),
        ("<p>grün</p>".encode("cp1252"), "text/html; charset=no-such-thing"),
        ("grün".encode(), "text/plain"),
    ],
)
async def test_letters_are_read_in_the_encoding_they_are_in(
    web: Web, server: WebServer, body: bytes, kind: str
) -> None:
    server.pages["/a"] = says(body, kind=kind)
    assert (await read(web, server.url("/a")))["text"] == "grün"


@given(st.binary(max_size=300) | st.text(alphabet="<>/abpscript='\" &#;x0!-", max_size=200).map(str.encode))
def test_any_bytes_are_a_page(body: bytes) -> None:
    found = reading.read_html(body, "http://a.example/", "")
    assert all(link.startswith(("http://", "https://")) for link in found.links)
    found.text.encode()
