"""`calls.services`: secrets are filled in and masked, every failure is an answer, offline nothing is sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.services import WebServer, says

from stream_orchestrator.calls import services as module
from stream_orchestrator.calls.api import Api
from stream_orchestrator.calls.fetch import Fetcher
from stream_orchestrator.calls.provider import Job, ServiceFault
from stream_orchestrator.calls.providers import needs_of
from stream_orchestrator.calls.service import CallService
from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.calls.services import Services
from stream_orchestrator.calls.settings import CallSettings
from stream_orchestrator.errors import UsageError
from stream_orchestrator.kernel.effects import Answer, ServiceRequest
from stream_orchestrator.trust.addresses import AddressGuard
from stream_orchestrator.trust.secrets import Secrets

ENVIRON = {"SHOP_TOKEN": "tok-123456", "DESK_PASSWORD": "hunter-22", "KAFKA_SASL_PASSWORD": "never-this"}


class Fake:
    """A provider that does what its function says."""

    def __init__(self, does: Any) -> None:
        self.does, self.jobs = does, list[Job]()

    async def do(self, job: Job) -> Any:
        self.jobs.append(job)
        found = self.does(job)
        return await found if asyncio.iscoroutine(found) else found

    async def close(self) -> None:
        pass


def served(monkeypatch: pytest.MonkeyPatch, does: Any, **settings: Any) -> tuple[CallService, Fake]:
    fake = Fake(does)
    monkeypatch.setattr(module, "make", lambda *_: fake)
    services = Services(ServiceSettings(**settings), secrets=Secrets(environ=ENVIRON))
    return CallService(CallSettings(), services=services), fake


def request(service: str = "api", **more: Any) -> ServiceRequest:
    return ServiceRequest(service=service, operation="GET", key="k", **more)


def raising(error: Exception) -> Any:
    def does(_: Job) -> Any:
        raise error

    return does


async def test_a_secret_is_filled_in_where_its_mark_is_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, fake = served(monkeypatch, lambda job: job.options)
    options = {"a": ["Bearer <m1>", 5], "b": {"c": "<m2>", "<m1>": None}, "d": "<m3>"}
    asked = request(options=options, secrets={"<m1>": "shop_token", "<m2>": "env:DESK_PASSWORD"})
    answer = await calls.attempt(asked, call_id="c")
    assert fake.jobs[0].options == {"a": ["Bearer tok-123456", 5], "b": {"c": "hunter-22", "<m1>": None}, "d": "<m3>"}
    assert answer.value == {"a": ["Bearer ***", 5], "b": {"c": "***", "<m1>": None}, "d": "<m3>"}
    assert asked.options == options


async def test_a_fault_that_quotes_a_secret_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, _ = served(monkeypatch, raising(ServiceFault("refused", "no: tok-123456", retryable=True, retry_after=3.0)))
    answer = await calls.attempt(request(secrets={"<m>": "shop_token"}))
    assert (answer.message, answer.retryable, answer.retry_after) == ("no: ***", True, 3.0)


@pytest.mark.parametrize(
    ("secret", "url", "parts"),
    [
        ("s3crT/rest-of-it", "http://<m>/", ("s3crt", "rest-of-it")),
        ("Pa?ssword", "<m>", ("Pa", "ssword")),
        ("https://hooks.example/T0/B0", "<m>", ("hooks", "T0/B0")),
        ("us:3r/x1", "http://<m>@a.example/", ("3r", "x1")),
        ("ho%2Fst%3Ax", "http://<m>/", ("ho", "st")),
    ],
)
async def test_no_message_names_a_part_of_a_secret_that_the_address_is_made_of(
    secret: str, url: str, parts: tuple[str, ...]
) -> None:
    services = Services(ServiceSettings(), secrets=Secrets(environ={"SHOP_URL": secret}))
    services._providers["api"] = Api(ServiceSettings(), fetcher=Fetcher(AddressGuard(), lookup=_nowhere))
    asked = request(options={"url": url}, secrets={"<m>": "shop_url"})
    answer = await CallService(CallSettings(), services=services).attempt(asked)
    await services.close()
    assert answer.error_type in {"unreachable", "bad_request"}
    assert not [part for part in parts if part.lower() in answer.message.lower()]


async def test_an_address_that_is_a_secret_is_masked_however_a_client_writes_it() -> None:
    async with WebServer() as server:
        server.pages["/page"] = says("hello", kind="text/plain")
        secret = f"HTTP://127.0.0.1:{server.port}/x/../page?token=t0k-123456#part"
        services = Services(
            ServiceSettings(guard=AddressGuard.of(["127.0.0.1"])), secrets=Secrets(environ={"PAGE_URL": secret})
        )
        asked = request("web", options={"url": "<m>", "obey_robots": False}, secrets={"<m>": "page_url"})
        answer = await CallService(CallSettings(), services=services).attempt(asked)
        await services.close()
    assert (answer.value["text"], answer.value["url"]) == ("hello", "***")


@pytest.mark.parametrize("service", ["api", "web"])
async def test_an_address_without_tls_is_refused_in_a_secret_too(service: str) -> None:
    services = Services(ServiceSettings(), secrets=Secrets(environ={"SHOP_URL": "HTTP://shop.example/x"}))
    asked = request(service, options={"url": "<m>", "tls": True}, secrets={"<m>": "shop_url"})
    answer = await CallService(CallSettings(), services=services).attempt(asked)
    await services.close()
    assert (answer.error_type, answer.retryable) == ("blocked_address", False)
    assert "encryption_in_transit" in answer.message


async def _nowhere(host: str, port: int) -> list[str]:
    raise OSError(f"nobody knows {host}")


@pytest.mark.parametrize(
    "name", ["none", "env:NONE", "kafka_sasl_password", "env:KAFKA_SASL_PASSWORD", "../etc/passwd"]
)
async def test_a_secret_that_is_not_there_or_not_theirs_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    calls, fake = served(monkeypatch, lambda job: 1)
    answer = await calls.attempt(request(secrets={"<m>": name}))
    assert (answer.error_type, answer.retryable, fake.jobs) == ("missing_secret", False, [])
    assert "never-this" not in answer.message


async def test_a_bug_in_a_provider_is_a_fault_that_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, _ = served(monkeypatch, raising(KeyError("tok-123456")))
    answer = await calls.attempt(request())
    assert (answer.error_type, answer.retryable, answer.ambiguous) == ("ServiceFailed", False, True)


async def test_an_attempt_ends_at_its_deadline_and_is_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    calls, _ = served(monkeypatch, lambda job: asyncio.sleep(60))
    answer = await calls.attempt(request(deadline=time.time() + 0.1))
    assert (answer.error_type, answer.retryable, answer.ambiguous) == ("timeout", True, True)
    answer = await calls.attempt(request(deadline=time.time() + 0.1, on_ambiguous="fail"))
    assert (answer.error_type, answer.retryable, answer.ambiguous) == ("timeout", False, True)


@pytest.mark.parametrize("value", ["x" * 13_000_000, {"n": 2**70}, "\ud800", object()])
async def test_a_value_that_no_record_holds_is_a_fault(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    calls, _ = served(monkeypatch, lambda job: value)
    answer = await calls.attempt(request())
    assert answer.error_type in {"too_large", "bad_answer"}
    assert not answer.retryable


@pytest.mark.parametrize("service", ["web", "search", "api", "email"])
async def test_offline_the_network_is_not_touched(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    calls, fake = served(monkeypatch, lambda job: 1, offline=True)
    answer = await calls.attempt(request(service))
    assert (answer.error_type, answer.retryable, fake.jobs) == ("Offline", False, [])
    assert "--offline" in answer.message


async def test_offline_files_are_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, _ = served(monkeypatch, lambda job: "fine", offline=True)
    assert await calls.attempt(request("files")) == Answer(value="fine", seconds=pytest.approx(0, abs=5))


def test_what_a_worker_lacks_is_said_with_what_to_do() -> None:
    lacks = dict(needs_of(("search", "files", "email", "api"), ServiceSettings()))
    assert [name.split("__")[1] for name in lacks] == ["SEARCH", "FILES", "EMAIL"]
    assert all(lacks.values())
    assert dict(needs_of(("search", "files", "email"), ServiceSettings(offline=True))).keys() == {
        name for name in lacks if "FILES" in name
    }


def test_a_package_that_is_missing_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from stream_orchestrator.calls import providers

    monkeypatch.setattr(providers, "find_spec", lambda name: None)
    lacks = dict(needs_of(("web", "database"), ServiceSettings()))
    assert lacks == {
        "selectolax and pypdf and protego must be installed": "pip install 'stream-orchestrator[web]'",
        "sqlalchemy must be installed": "pip install 'stream-orchestrator[database]'",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SEARCH__URL", "searx.example"),
        ("EMAIL__SMTP_URL", "https://user:s3cret@mail.example"),
        ("EMAIL__SMTP_URL", "smtp://mail.example:99999"),
        ("FILES__ROOTS", "relative/folder"),
        ("FILES__ROOTS", "/srv/../etc"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_without_its_secret(name: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        ServiceSettings.from_env({f"STREAM_ORCHESTRATOR__{name}": value})
    assert "s3cret" not in str(caught.value) + caught.value.hint


def test_mail_servers_are_spoken_to_as_their_address_says() -> None:
    def read(url: str) -> Any:
        smtp = ServiceSettings.from_env({"STREAM_ORCHESTRATOR__EMAIL__SMTP_URL": url}).smtp
        assert smtp is not None
        return smtp.host, smtp.port, smtp.tls, smtp.username, smtp.password

    assert read("smtp://ann:p%40ss@mail.example") == ("mail.example", 587, "starttls", "ann", "p@ss")
    assert read("smtps://mail.example") == ("mail.example", 465, "smtps", "", "")
    assert read("smtp://127.0.0.1:2525") == ("127.0.0.1", 2525, "none", "", "")
