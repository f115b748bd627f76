"""The models of tasks that talk to a service outside."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from stream_orchestrator.spec.common_tasks import BaseTask
from stream_orchestrator.spec.fields import (
    CountOrTemplate,
    SomeBytes,
    Spec,
    Text,
    Texts,
    about,
    bad_value,
    is_template,
    needed,
)


def _fixed(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise bad_value("must be text", "write it out")
    if is_template(value):
        hint = "values of a statement stand in it as `:name`, and in `parameters:` as templates"
        raise bad_value("cannot hold a template: what is done must not depend on what an event holds", hint)
    return value


Fixed = Annotated[str, PlainValidator(_fixed), WithJsonSchema({"type": "string", "minLength": 1})]


class ServiceTask(BaseTask):
    """What tasks that talk to a service share: the keys that they add are the request, as templates."""

    noun: ClassVar[str] = "a task of a service"
    # Keys that are no template: what is sent must not depend on what an event holds.
    FIXED: ClassVar[frozenset[str]] = frozenset({"type"})


class WebScrapingTask(ServiceTask):
    """A page of the web, read."""

    noun: ClassVar[str] = "a `web_scraping_task`"

    type: Literal["web_scraping_task"] = needed("`web_scraping_task`")
    url: Text | None = about(
        "the page; default: the one text variable whose name ends in `url` or whose regex begins with `^https?`"
    )
    max_size: SomeBytes | None = about("the largest page that is read; default 5MB")
    obey_robots: bool | None = about("`false`: for pages of your own, robots.txt is not asked")


class WebSearchTask(ServiceTask):
    """A question to a search engine."""

    noun: ClassVar[str] = "a `web_search_task`"

    type: Literal["web_search_task"] = needed("`web_search_task`")
    query: Text = needed("what to search for")
    max_results: CountOrTemplate | None = about("how many results at most; default 10")
    language: Text | None = about("the language of results, such as `en`")


class ApiAuth(Spec):
    """How an API knows us."""

    noun: ClassVar[str] = "`auth`"

    bearer: Text | None = about("a token, as in \"{{ secret('shop_token') }}\"")
    username: Text | None = about("a user's name")
    password: Text | None = about("a user's password")


class ApiTask(ServiceTask):
    """A request to an HTTP API."""

    noun: ClassVar[str] = "an `api_task`"

    type: Literal["api_task"] = needed("`api_task`")
    url: Text = needed("where to")
    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] | None = about("default GET")
    headers: dict[str, Any] | None = about("headers of the request")
    query: dict[str, Any] | None = about("what stands behind `?` in the address; a list gives a name several times")
    json_body: Any = about("the body, as JSON", alias="json")
    body: Any = about("the body, as text")
    auth: ApiAuth | None = about("`bearer`, or `username` and `password`")
    expected_status: int | list[int] | None = about("what is a success; default: 200 to 299")
    idempotency_header: Text | None = about(
        "the header that tells a repetition from a second request; default `Idempotency-Key`"
    )
    max_size: SomeBytes | None = about("the largest answer that is read; default 5MB")

    @model_validator(mode="after")
    def _one_body(self) -> ApiTask:
        if self.json_body is not None and self.body is not None:
            raise bad_value("has `json` and `body`", "a request has one body: take one of them out")
        return self


class FileTask(ServiceTask):
    """A file, or a folder, below the folders that the worker allows."""

    noun: ClassVar[str] = "a `file_task`"
    FIXED: ClassVar[frozenset[str]] = frozenset({"type", "operation", "encoding"})

    type: Literal["file_task"] = needed("`file_task`")
    operation: Literal["read", "write", "append", "list", "delete", "exists"] = needed(
        "`read`, `write`, `append`, `list`, `delete` or `exists`"
    )
    path: Text = needed("which file; a relative one is below the first of the allowed folders")
    content: Any = about("what is written: text, or any value as JSON")
    encoding: Literal["utf-8", "base64"] | None = about("`base64` for files that are no text; default `utf-8`")
    pattern: Text | None = about("which names `list` gives, such as `*.json`")
    max_size: SomeBytes | None = about("the largest file that is read; default 5MB")


class DatabaseTask(ServiceTask):
    """One statement to a database."""

    noun: ClassVar[str] = "a `database_task`"
    FIXED: ClassVar[frozenset[str]] = frozenset({"type", "connection", "query", "writes"})

    type: Literal["database_task"] = needed("`database_task`")
    connection: Fixed = needed("the name of the secret that holds the database's SQLAlchemy URL")
    query: Fixed = needed("one SQL statement; values stand in it as `:name`, never as templates")
    parameters: dict[str, Any] | None = about("the values of the statement's `:name`")
    writes: bool | None = about("whether it changes anything; default: by its first word")
    max_rows: CountOrTemplate | None = about("more rows than this are a failure; default 1000")


class EmailTask(ServiceTask):
    """A message by e-mail."""

    noun: ClassVar[str] = "an `email_task`"

    type: Literal["email_task"] = needed("`email_task`")
    to: Texts = needed("who gets it")
    cc: Texts | None = about("who gets a copy")
    bcc: Texts | None = about("who gets a copy that the others do not see")
    sender: Text | None = about("who sends it; default: the worker's own address", alias="from")
    reply_to: Text | None = about("where answers go")
    subject: Text = needed("its subject")
    body: Text | None = about("its text")
    html: Text | None = about("the same as HTML")
    attachments: list[dict[str, Any]] | None = about(
        "what goes with it: `{filename, content}`; `encoding: base64` for what is no text, `content_type`"
    )


SERVICE_TASKS: dict[str, type[ServiceTask]] = {
    "web_scraping_task": WebScrapingTask,
    "web_search_task": WebSearchTask,
    "api_task": ApiTask,
    "file_task": FileTask,
    "database_task": DatabaseTask,
    "email_task": EmailTask,
}
