"""`email`: what is sent, to whom, and what is known when it fails."""

from __future__ import annotations

import email
from collections import deque
from collections.abc import AsyncIterator
from email import policy
from typing import Any

import pytest
from support.services import MailServer, job

from stream_orchestrator.calls.email import Email
from stream_orchestrator.calls.provider import ServiceFault
from stream_orchestrator.calls.service_settings import ServiceSettings, SmtpServer


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with MailServer() as server:
        yield server


@pytest.fixture
async def mail(server: MailServer) -> AsyncIterator[Email]:
    mail = Email(settings_for(server))
    yield mail
    await mail.close()


def settings_for(server: MailServer) -> ServiceSettings:
    smtp = SmtpServer(host="127.0.0.1", port=server.port, tls="none")
    return ServiceSettings(smtp=smtp, email_from="Us <us@example.org>")


async def send(mail: Email, *, key: str = "k1", seconds: float = 10.0, **options: Any) -> dict[str, Any]:
    given = {"to": ["ann@example.org"], "cc": [], "bcc": [], "subject": "Hi", "body": "Hello", **options}
    found: dict[str, Any] = await mail.do(job("send", given, key=key, seconds=seconds))
    return found


async def failed(mail: Email, **options: Any) -> ServiceFault:
    with pytest.raises(ServiceFault) as caught:
        await send(mail, **options)
    return caught.value


def parsed(server: MailServer) -> Any:
    return email.message_from_string(server.messages[-1][2], policy=policy.default)


# --- failure first


@pytest.mark.parametrize(
    ("command", "reply", "error_type", "retryable", "ambiguous"),
    [
        ("CONNECT", "421 too busy", "mail_server_busy", True, False),
        ("CONNECT", "554 go away", "refused", False, False),
        ("CONNECT", None, "unreachable", True, False),
        ("MAIL", "550 who are you", "refused", False, False),
        ("MAIL", "451 later", "mail_server_busy", True, False),
        ("RCPT", "550 unknown", "refused", False, False),
        ("RCPT", "450 greylisted", "mail_server_busy", True, False),
        ("DATA", "452 no room", "mail_server_busy", True, False),
        ("DATA", None, "unreachable", True, False),
        ("DATA.", "554 it is spam", "refused", False, False),
        ("DATA.", "451 try again", "mail_server_busy", True, False),
        ("DATA.", None, "disconnected", True, True),
    ],
)
async def test_a_server_that_says_no_is_a_fault(
    mail: Email, server: MailServer, command: str, reply: str | None, error_type: str, retryable: bool, ambiguous: bool
) -> None:
    server.faults[command] = deque([reply])
    fault = await failed(mail)
    assert (fault.error_type, fault.retryable, fault.ambiguous) == (error_type, retryable, ambiguous)
    assert server.messages == []


@pytest.mark.parametrize(("command", "ambiguous"), [("CONNECT", False), ("MAIL", False), ("DATA.", True)])
async def test_a_server_that_says_nothing_is_waited_for_until_the_deadline(
    mail: Email, server: MailServer, command: str, ambiguous: bool
) -> None:
    server.faults[command] = deque(["hang"])
    fault = await failed(mail, seconds=0.4)
    assert (fault.error_type, fault.retryable, fault.ambiguous) == ("timeout", True, ambiguous)


async def test_nobody_there_may_pass(server: MailServer) -> None:
    await server.__aexit__()
    mail = Email(settings_for(server))
    fault = await failed(mail)
    await mail.close()
    assert (fault.error_type, fault.retryable, fault.ambiguous) == ("unreachable", True, False)


@pytest.mark.parametrize(
    "options",
    [
        {"subject": "Hi\r\nBcc: all@example.org"},
        {"to": ["ann@example.org\nBcc: all@example.org"]},
        {"from": "us@example.org\r\nX: y"},
        {"to": ["jürgen@example.org"]},
        {"bcc": ["ann@bücher.example"]},
        {"attachments": [{"filename": "a"}]},
        {"attachments": [{"filename": "a", "content": "no base64!", "encoding": "base64"}]},
    ],
)
async def test_a_message_that_would_be_another_is_refused(
    mail: Email, server: MailServer, options: dict[str, Any]
) -> None:
    fault = await failed(mail, **options)
    assert (fault.error_type, fault.retryable) == ("bad_request", False)
    assert server.commands == []


async def test_a_password_does_not_go_over_a_line_that_others_read(server: MailServer) -> None:
    smtp = SmtpServer(host="127.0.0.1", port=server.port, tls="starttls", username="ann", password="s3cret-pass")
    mail = Email(ServiceSettings(smtp=smtp))
    await failed(mail)
    await mail.close()
    assert not any("AUTH" in command.upper() for command in server.commands)


async def test_without_a_server_nothing_is_sent() -> None:
    mail = Email(ServiceSettings())
    assert "EMAIL__SMTP_URL" in str(await failed(mail))
    await mail.close()


# --- success


async def test_a_message_goes_to_everybody_and_the_hidden_ones_stay_hidden(mail: Email, server: MailServer) -> None:
    found = await send(
        mail,
        to=["Ann <ann@example.org>", "bob@example.org"],
        cc=["cid@example.org"],
        bcc=["dan@example.org", "ann@example.org"],
        reply_to="desk@example.org",
        subject="Grüße",
        body="line\n.dot\n",
        html="<p>ü</p>",
    )
    sender, people, text = server.messages[0]
    everybody = [f"{name}@example.org" for name in ("ann", "bob", "cid", "dan")]
    assert (sender, people, found["accepted"], found["refused"]) == ("us@example.org", everybody, everybody, {})
    message = parsed(server)
    assert (message["Subject"], message["Cc"], message["Reply-To"]) == ("Grüße", "cid@example.org", "desk@example.org")
    assert "dan@" not in text
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain.get_content().replace("\r\n", "\n").replace("\n..dot", "\n.dot") == "line\n.dot\n"
    assert html.get_content().strip() == "<p>ü</p>"


async def test_a_message_that_is_sent_again_is_known_as_the_same(mail: Email, server: MailServer) -> None:
    server.faults["DATA."] = deque([None])
    await failed(mail, key="k7")
    first = await send(mail, key="k7")
    again = await send(mail, key="k7")
    other = await send(mail, key="k8")
    assert first["message_id"] == again["message_id"] == parsed_id(server, 0) == "<k7@example.org>"
    assert other["message_id"] != first["message_id"]


def parsed_id(server: MailServer, number: int) -> str:
    return str(email.message_from_string(server.messages[number][2], policy=policy.default)["Message-ID"])


async def test_who_was_refused_is_told_and_the_others_have_it(mail: Email, server: MailServer) -> None:
    server.faults["RCPT"] = deque(["550 no such user"])
    found = await send(mail, to=["none@example.org", "ann@example.org"])
    assert found["accepted"] == ["ann@example.org"]
    assert found["refused"] == {"none@example.org": "550 no such user"}


async def test_attachments_go_with_it(mail: Email, server: MailServer) -> None:
    attachments = [
        {"filename": "a.txt", "content": "grün", "content_type": "text/plain"},
        {"filename": "b.bin", "content": "AP8=", "encoding": "base64"},
        {"filename": "c.json", "content": {"x": 1}, "content_type": "application/json"},
    ]
    await send(mail, attachments=attachments, html="<p>only</p>", body=None)
    parts = {part.get_filename(): part for part in parsed(server).iter_attachments()}
    assert {name: part.get_payload(decode=True) for name, part in parts.items()} == {
        "a.txt": "grün".encode(),
        "b.bin": b"\x00\xff",
        "c.json": b'{"x":1}',
    }
