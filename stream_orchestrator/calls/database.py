"""The service `database`: one statement on a database that SQLAlchemy knows.

Promises
  * Values are bound by the driver. No statement is made of them.
  * A statement that writes is applied once for its key: the key is recorded in the same transaction, and a repeated
    attempt gives the recorded answer. Records stand in the table `stream_orchestrator_calls`, made when it is missing.
  * A row is whole: two columns of one name are a fault, and no column is dropped.
  * One that reads runs where the database refuses to write, if it is SQLite or PostgreSQL.
  * One on SQLite works on the file of its address: it can attach no other, nor make one.
  * The address comes from a secret, and is in no message.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import decimal
import re
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, Text, create_engine, event, exc, text
from sqlalchemy.engine import URL, CursorResult, make_url

from stream_orchestrator.calls.provider import Job, ServiceFault, Threads
from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.trust.secrets import Secrets

MOST_ENGINES = 16
CONNECT_SECONDS = 10
JOURNAL = Table(
    "stream_orchestrator_calls",
    MetaData(),
    Column("call_key", String(64), primary_key=True),
    Column("answer", Text, nullable=False),
    Column("applied_at", String(32), nullable=False),
)
_READS = frozenset({"select", "values", "show", "explain", "with", "table"})
_CHANGES = re.compile(r"\b(insert|update|delete|merge|into|nextval|setval)\b|\bfor\s+(no\s+key\s+)?update\b", re.I)
_FORM = "it is written `postgresql://user:password@host:5432/name`, or `sqlite:////path/of/file.db`"
_REFUSED = re.compile(r"readonly database|read-only transaction", re.I)
_NOT_AUTHORIZED = "not authorized"  # all that SQLite says of what `_keeps_to_its_file` denies
_LOCKED = re.compile(r"locked|busy|disk i/o", re.I)
_COMMENTS = re.compile(r"/\*.*?\*/|--[^\n]*", re.S)


class Database:
    """Runs statements, each database by its own small pool of connections."""

    def __init__(self, settings: ServiceSettings, secrets: Secrets) -> None:
        self._offline, self._secrets = settings.offline, secrets
        self._engines: dict[str, Engine] = {}
        self._threads = Threads("database")

    async def do(self, job: Job) -> Any:
        """Run it, in a thread."""
        url = self._url(str(job.options["connection"]), job)
        left = job.deadline - asyncio.get_running_loop().time()
        until = time.monotonic() + left - min(0.2, 0.1 * left)  # the database gives up before we do, and says so
        return await self._threads.run(lambda job: self._run(job, url, until), job)

    async def close(self) -> None:
        """Close every connection that is idle; the others end with their statement."""
        for engine in self._engines.values():
            engine.dispose()
        self._threads.close()

    def _url(self, name: str, job: Job) -> URL:
        said = self._secrets.get(name)
        if said is None:
            raise ServiceFault("missing_secret", self._secrets.missing(name))
        job.masker.add(said)
        try:
            url = make_url(said)
        except (exc.ArgumentError, ValueError) as error:
            raise ServiceFault("bad_request", f"the secret `{name}` holds no SQLAlchemy URL: {_FORM}") from error
        if url.password:
            job.masker.add(url.password)
        if self._offline and url.get_backend_name() != "sqlite":
            raise ServiceFault("Offline", f"offline, the database `{name}` is not asked: it is not a file")
        return url

    def _run(self, job: Job, url: URL, until: float) -> Any:
        statement, values = str(job.options["query"]), job.options.get("parameters") or {}
        _refuse_maps(values, url)
        writes = job.options.get("writes")
        writes = not _only_reads(statement) if writes is None else bool(writes)
        sent = False
        try:
            engine = self._engine(url)
            with engine.connect() as connection, _bounded(connection, until):
                if not writes:
                    return _read(connection, statement, values, most=int(job.options["max_rows"]))
                sent = True
                return _write_once(connection, job, statement, values)
        except exc.SQLAlchemyError as error:
            raise _fault(error, writes=sent, late=time.monotonic() >= until) from error

    def _engine(self, url: URL) -> Engine:
        name = url.render_as_string(hide_password=False)
        if name not in self._engines:
            if len(self._engines) >= MOST_ENGINES:
                self._engines.pop(next(iter(self._engines))).dispose()
            self._engines[name] = _made(url)
        return self._engines[name]


def _refuse_maps(values: Mapping[str, Any], url: URL) -> None:
    unfit = (dict, list) if url.get_backend_name() == "sqlite" else (dict,)
    for name, value in values.items():
        if isinstance(value, unfit):
            kind = "a map" if isinstance(value, dict) else "a list"
            said = f"the parameter `{name}` is {kind}, which no column takes: give one value of it, or its JSON as text"
            raise ServiceFault("bad_request", said)


def _made(url: URL) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url, hide_parameters=True)
            # Its driver begins transactions when it likes; here they begin where SQLAlchemy says.
            event.listen(engine, "connect", _begins_nothing)
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
            return engine
        if url.get_backend_name() == "postgresql":
            # The driver that our extra brings, where the URL names none.
            url = url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
            timeout = {"connect_timeout": CONNECT_SECONDS}
            return create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=timeout)
        return create_engine(url, hide_parameters=True, pool_pre_ping=True)
    except (ImportError, exc.ArgumentError) as error:
        hint = "pip install 'stream-orchestrator[postgresql]'" if "psycopg" in str(error) else "install its driver"
        raise ServiceFault("missing_driver", f"no driver for {url.drivername} is installed: {hint}") from error


def _begins_nothing(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.set_authorizer(_keeps_to_its_file)


def _keeps_to_its_file(action: int, *_: Any) -> int:
    # `ATTACH`, and `VACUUM INTO` by its way, make a file wherever a statement says.
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


@contextmanager
def _bounded(connection: Connection, until: float) -> Iterator[None]:
    """A statement that runs past the deadline is stopped by the database itself, where it can."""
    left = max(0.05, until - time.monotonic())
    backend = connection.dialect.name
    raw: Any = connection.connection.dbapi_connection
    if backend == "sqlite":
        raw.set_progress_handler(lambda: time.monotonic() >= until, 10_000)
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(left * 1000)}")
        connection.rollback()
    elif backend == "postgresql":
        connection.exec_driver_sql(f"SET statement_timeout = {int(left * 1000)}")
        connection.commit()
    try:
        yield
    finally:
        if backend == "sqlite":
            raw.set_progress_handler(None, 0)


def _read(connection: Connection, statement: str, values: Mapping[str, Any], *, most: int) -> dict[str, Any]:
    backend = connection.dialect.name
    if backend == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    elif backend == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    try:
        return _answer_of(connection.execute(text(statement), dict(values)), most)
    finally:
        connection.rollback()
        if backend == "sqlite":
            connection.exec_driver_sql("PRAGMA query_only = OFF")
            connection.rollback()


def _write_once(connection: Connection, job: Job, statement: str, values: Mapping[str, Any]) -> Any:
    _make_journal(connection)
    now = datetime.datetime.fromtimestamp(job.wall, tz=datetime.UTC).isoformat(timespec="seconds")
    try:
        connection.execute(JOURNAL.insert().values(call_key=job.key, answer="", applied_at=now))
    except exc.IntegrityError:  # it was applied, by an earlier attempt
        connection.rollback()
        found = connection.execute(JOURNAL.select().where(JOURNAL.c.call_key == job.key)).one()
        connection.rollback()
        return orjson.loads(found.answer)
    answer = _answer_of(connection.execute(text(statement), dict(values)), int(job.options["max_rows"]))
    kept = orjson.dumps(answer).decode()
    connection.execute(JOURNAL.update().where(JOURNAL.c.call_key == job.key).values(answer=kept))
    connection.commit()
    return answer


def _make_journal(connection: Connection) -> None:
    try:
        JOURNAL.create(connection, checkfirst=True)
        connection.commit()
    except exc.DBAPIError:  # somebody made it just now; if not, the insert says what is wrong
        connection.rollback()


def _answer_of(result: CursorResult[Any], most: int) -> dict[str, Any]:
    if not result.returns_rows:
        return {"rows": [], "row_count": max(0, result.rowcount)}
    names = list(result.keys())
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ServiceFault("bad_request", f"two columns are named `{twice}`: give each a name of its own, with AS")
    rows = result.mappings().fetchmany(most + 1)
    if len(rows) > most:
        raise ServiceFault("too_large", f"there are more than {most} rows; write LIMIT, or a larger `max_rows`")
    return {"rows": [{key: _plain(value) for key, value in row.items()} for row in rows], "row_count": len(rows)}


def _plain(value: Any) -> Any:
    """A value as JSON has it. Exact numbers stay exact: as text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if value - value == 0 else str(value)
        case decimal.Decimal() | uuid.UUID():
            return str(value)
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case bytes() | memoryview():
            return base64.b64encode(value).decode()
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set():
            return [_plain(item) for item in value]
        case _:
            return str(value)


def _only_reads(statement: str) -> bool:
    """Whether a statement looks as if it changed nothing. When that is wrong, the database says so and refuses."""
    bare = _COMMENTS.sub(" ", statement).strip().lower()
    first = re.match(r"\(*\s*([a-z]+)", bare)
    return first is not None and first[1] in _READS and not _CHANGES.search(bare)


def _fault(error: exc.SQLAlchemyError, *, writes: bool, late: bool) -> ServiceFault:
    said = _said(error)
    if late:
        return ServiceFault("timeout", f"the statement was stopped at its deadline: {said}", retryable=True)
    if _REFUSED.search(said):
        return ServiceFault("database_error", f"{said}; a statement that changes something says `writes: true`")
    if said == _NOT_AUTHORIZED:
        return ServiceFault("database_error", "a statement works on its own database: no other file can be attached")
    passes = isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError)
    if isinstance(getattr(error, "orig", None), sqlite3.Error):
        passes = bool(_LOCKED.search(said))  # its driver has one word for all that goes wrong
    lost = writes and bool(getattr(error, "connection_invalidated", False))
    word = "database_unavailable" if passes else "database_error"
    return ServiceFault(word, said, retryable=passes, ambiguous=lost)


def _said(error: exc.SQLAlchemyError) -> str:
    """What the database said, without the statement."""
    inner = getattr(error, "orig", None)
    return " ".join(str(inner or error).split())[:400]
