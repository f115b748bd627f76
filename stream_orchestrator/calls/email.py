"""The service `email`: one message to the configured mail server.

Promises
  * The Message-ID is made of the key of the step: a message that is sent again is known as the same.
  * `ambiguous` is set only when the whole message had left and the server had not said what became of it.
  * A password goes over TLS, or to a server on this machine, and nowhere else.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import smtplib
import ssl
import time
from collections.abc import Mapping
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, getaddresses, parseaddr
from typing import Any

import orjson

from stream_orchestrator.calls.provider import Job, ServiceFault, Threads
from stream_orchestrator.calls.service_settings import PREFIX, ServiceSettings, SmtpServer

POLICY = SMTP.clone(cte_type="7bit")  # not every server takes letters beyond ASCII as they are
STEP_SECONDS = 60.0  # what one command may take; the whole is bounded by the deadline
MOST_BYTES = 9 * 1024 * 1024


class Email:
    """Sends messages."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._server, self._from = settings.smtp, settings.email_from
        self._threads = Threads("email")

    async def do(self, job: Job) -> Any:
        """Send it, in a thread; who was accepted and who was refused."""
        if self._server is None:
            raise ServiceFault("not_configured", f"no mail server is set: {PREFIX}EMAIL__SMTP_URL")
        server = self._server
        if server.password:
            job.masker.add(server.password)
        message = _message(job, self._from or f"stream-orchestrator@{server.host}")
        until = time.monotonic() + job.deadline - asyncio.get_running_loop().time()
        return await self._threads.run(lambda job: _sent(job, message, server, until), job)

    async def close(self) -> None:
        """Let the threads go."""
        self._threads.close()


def _message(job: Job, default_sender: str) -> EmailMessage:
    options = job.options
    message = EmailMessage(policy=POLICY)
    sender = str(options.get("from") or default_sender)
    try:
        message["From"], message["To"] = sender, ", ".join(options["to"])
        for name, value in (("Cc", ", ".join(options.get("cc") or ())), ("Reply-To", options.get("reply_to"))):
            if value:
                message[name] = str(value)
        message["Subject"] = str(options["subject"])
        message["Date"] = formatdate(job.wall)
        message["Message-ID"] = f"<{job.key}@{parseaddr(sender)[1].rpartition('@')[2] or 'stream-orchestrator'}>"
        _fill(message, options)
    except (ValueError, TypeError, LookupError, MessageError) as error:
        raise ServiceFault("bad_request", f"this is no message: {error}") from error
    return message


def _fill(message: EmailMessage, options: Mapping[str, Any]) -> None:
    body, html = options.get("body"), options.get("html")
    message.set_content(body if isinstance(body, str) else "" if body is None else orjson.dumps(body).decode())
    if html is not None:
        if body is None:
            message.set_content(str(html), subtype="html")
        else:
            message.add_alternative(str(html), subtype="html")
    for attachment in options.get("attachments") or ():
        _attach(message, attachment)


def _attach(message: EmailMessage, attachment: Mapping[str, Any]) -> None:
    content = attachment["content"]
    if attachment.get("encoding") == "base64":
        try:
            data = base64.b64decode(content, validate=True)
        except binascii.Error as error:
            raise ValueError(f"the attachment {attachment['filename']!r} is not base64") from error
    else:
        data = content.encode() if isinstance(content, str) else orjson.dumps(content)
    kind = str(attachment.get("content_type") or "application/octet-stream").partition("/")
    message.add_attachment(data, maintype=kind[0], subtype=kind[2], filename=str(attachment["filename"]))


def _sent(job: Job, message: EmailMessage, server: SmtpServer, until: float) -> dict[str, Any]:
    data = message.as_bytes(policy=POLICY)
    if len(data) > MOST_BYTES:
        raise ServiceFault("too_large", f"the message has {len(data):,} bytes; {MOST_BYTES:,} is the most")
    sender = parseaddr(str(message["From"]))[1]
    people = [address for _, address in getaddresses([*job.options["to"], *job.options["cc"], *job.options["bcc"]])]
    if odd := next((each for each in (sender, *people) if not each.isascii()), None):
        said = f"the address `{odd}` has letters beyond ASCII; a domain of such letters is written `xn--...`"
        raise ServiceFault("bad_request", said)
    with _Conversation(server, until) as talk:
        refused = talk.send(sender, list(dict.fromkeys(people)), data)
    accepted = [each for each in dict.fromkeys(people) if each not in refused]
    return {"message_id": str(message["Message-ID"]), "accepted": accepted, "refused": refused}


class _Conversation:
    """One connection to the server; every way to fail is a `ServiceFault`."""

    def __init__(self, server: SmtpServer, until: float) -> None:
        self._server, self._until = server, until
        self._smtp: smtplib.SMTP | None = None
        self._left = False  # the whole message, without a word about it

    def __enter__(self) -> _Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        if self._smtp is not None:
            self._smtp.close()

    def send(self, sender: str, people: list[str], data: bytes) -> dict[str, str]:
        """Send to all of them; who was refused, and why."""
        try:
            smtp = self._smtp = self._opened()
            self._expect(smtp.mail(sender), 250, "the sender")
            refused = self._refused(smtp, people)
            self._expect(self._asked(smtp, "DATA"), 354, "the message")
            self._patience(smtp)
            smtp.send(_dotted(data))
            self._left = True
            self._expect(smtp.getreply(), 250, "the message")
            self._left = False
        except smtplib.SMTPResponseException as error:
            raise _of_code(error.smtp_code, error.smtp_error, "the connection") from error
        except (smtplib.SMTPException, OSError, ssl.SSLError) as error:
            late = isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError)
            said = f"{self._server.host}: {' '.join(str(error).split()) or type(error).__name__}"
            word = "timeout" if late else "disconnected" if self._left else "unreachable"
            raise ServiceFault(word, said, retryable=True, ambiguous=self._left) from error
        return refused

    def _opened(self) -> smtplib.SMTP:
        server, context = self._server, ssl.create_default_context()
        left = self._seconds()
        if server.tls == "smtps":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=left, context=context)
        else:
            smtp = smtplib.SMTP(server.host, server.port, timeout=left)
        self._smtp = smtp
        smtp.ehlo_or_helo_if_needed()
        if server.tls == "starttls":
            smtp.starttls(context=context)
            smtp.ehlo()
        if server.username:
            smtp.login(server.username, server.password)
        return smtp

    def _refused(self, smtp: smtplib.SMTP, people: list[str]) -> dict[str, str]:
        refused, codes = {}, []
        for person in people:
            self._patience(smtp)
            code, said = smtp.rcpt(person)
            if code not in (250, 251):
                codes.append(code)
                refused[person] = f"{code} {said.decode(errors='replace')}"
        if len(refused) == len(people):
            raise _of_code(max(codes), next(iter(refused.values())).encode(), "every recipient")
        return refused

    def _asked(self, smtp: smtplib.SMTP, command: str) -> tuple[int, bytes]:
        self._patience(smtp)
        return smtp.docmd(command)

    def _expect(self, reply: tuple[int, bytes], code: int, what: str) -> None:
        if reply[0] != code:
            self._left = False
            raise _of_code(reply[0], reply[1], what)

    def _seconds(self) -> float:
        return max(0.05, min(self._until - time.monotonic(), STEP_SECONDS))

    def _patience(self, smtp: smtplib.SMTP) -> None:
        if smtp.sock is not None:
            smtp.sock.settimeout(self._seconds())


def _of_code(code: int, said: bytes | str, what: str) -> ServiceFault:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    word = "refused" if code >= 500 else "mail_server_busy"
    message = f"the mail server refused {what}: {code} {' '.join(text.split())[:300]}"
    return ServiceFault(word, message, retryable=400 <= code < 500 or code < 0)


def _dotted(data: bytes) -> bytes:
    """The message as DATA wants it: lines end in CR LF, a leading dot is doubled, a lone dot ends it."""
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    body = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)
    return body.removesuffix(b"\r\n") + b"\r\n.\r\n"
