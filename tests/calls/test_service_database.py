"""`database`: values are bound, writes are applied once. On SQLite always, on PostgreSQL where its server is."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.services import job

from stream_orchestrator.calls.database import Database, _only_reads
from stream_orchestrator.calls.provider import ServiceFault
from stream_orchestrator.calls.service_settings import ServiceSettings
from stream_orchestrator.trust.secrets import Secrets

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def server_binary(name: str) -> str | None:
    return shutil.which(name) or next((str(path / name) for path in BINARIES if (path / name).exists()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL of our own on a free port; its URL. As root its processes are `nobody`'s: it refuses to be root."""
    initdb, server = server_binary("initdb"), server_binary("postgres")
    if initdb is None or server is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="so-postgres-"))
    user: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(folder, "nobody", "nogroup")
    data = folder / "data"
    subprocess.run(
        [initdb, "-D", data, "-U", "tester", "--auth=trust", "--no-sync", "-E", "UTF8"],
        check=True,
        capture_output=True,
        cwd=folder,
        **user,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [server, "-D", data, *options, "-c", "fsync=off"], stdout=log, stderr=log, cwd=folder, **user
        )
    try:
        url = f"postgresql://tester@127.0.0.1:{port}/postgres"
        wait_for(url, running)
        yield url
    finally:
        running.send_signal(signal.SIGINT)  # its fast way to stop: it waits for nobody
        running.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(url: str, running: subprocess.Popen[bytes]) -> None:
    import time

    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
    for _ in range(300):
        assert running.poll() is None, "PostgreSQL ended at once"
        try:
            engine.connect().close()
            return
        except sa.exc.OperationalError:
            time.sleep(0.1)
    raise AssertionError("PostgreSQL was not there within 30 s")


# `make test` needs nothing but Python; what needs a server is for `make check`.
@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/made.db"
    found: str = request.getfixturevalue("postgres")
    return found


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS t"))
        connection.execute(sa.text("DROP TABLE IF EXISTS stream_orchestrator_calls"))
    database = Database(ServiceSettings(), Secrets(environ={"MADE_DB": url}))
    await do(database, "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)", key="create")
    yield database
    await database.close()


async def do(database: Database, query: str, *, key: str = "k", seconds: float = 20.0, **options: Any) -> Any:
    given = {"connection": "made_db", "query": query, "max_rows": 1000, **options}
    return await database.do(job("execute", given, key=key, seconds=seconds))


async def failed(database: Database, query: str, **options: Any) -> ServiceFault:
    with pytest.raises(ServiceFault) as caught:
        await do(database, query, **options)
    return caught.value


async def count(database: Database) -> int:
    found: int = (await do(database, "SELECT count(*) AS n FROM t"))["rows"][0]["n"]
    return found


INSERT = "INSERT INTO t (a, b) VALUES (:a, :b)"


# --- failure first


async def test_a_value_is_never_part_of_the_statement(database: Database) -> None:
    evil = "x'); DROP TABLE t; --"
    await do(database, INSERT, parameters={"a": 1, "b": evil})
    found = await do(database, "SELECT b FROM t WHERE b = :b", parameters={"b": evil})
    assert found == {"rows": [{"b": evil}], "row_count": 1}
    assert (await do(database, "SELECT b FROM t WHERE b = :b", parameters={"b": "' OR 1=1 --"}))["rows"] == []


async def test_a_statement_that_only_looks_as_if_it_read_cannot_write(database: Database) -> None:
    fault = await failed(database, INSERT, parameters={"a": 1, "b": "x"}, writes=False)
    assert (fault.error_type, fault.retryable) == ("database_error", False)
    assert "writes: true" in str(fault)
    assert await count(database) == 0


@pytest.mark.parametrize("query", ["SELEC 1", "SELECT * FROM none", "SELECT :missing", "INSERT INTO none VALUES (1)"])
async def test_a_wrong_statement_is_not_tried_again(database: Database, query: str) -> None:
    assert not (await failed(database, query)).retryable


@pytest.mark.parametrize("query", ["ATTACH DATABASE '{}' AS x", "VACUUM INTO '{}'", "/**/ attach '{}' as y"])
@pytest.mark.parametrize("writes", [True, False])
async def test_no_statement_makes_a_file_elsewhere(tmp_path: Path, query: str, writes: bool) -> None:
    database = Database(ServiceSettings(), Secrets(environ={"MADE_DB": f"sqlite:///{tmp_path}/x.db"}))
    fault = await failed(database, query.format(tmp_path / "evil.db"), writes=writes)
    await database.close()
    assert (fault.error_type, fault.retryable) == ("database_error", False)
    assert not (tmp_path / "evil.db").exists()
    assert "ttach" in str(fault) or query.startswith("VACUUM")


async def test_a_parameter_that_is_a_map_is_named(database: Database) -> None:
    fault = await failed(database, INSERT, parameters={"a": 1, "b": {"x": "hush"}})
    assert (fault.error_type, fault.retryable) == ("bad_request", False)
    assert "`b` is a map" in str(fault)
    assert "hush" not in str(fault)


@pytest.mark.parametrize("said", ["postgres//u:hush@h/x", "postgresql://u:hush@h:port/x", "hush"])
async def test_an_address_that_is_none_is_said_with_its_form_and_without_it(said: str) -> None:
    database = Database(ServiceSettings(), Secrets(environ={"MADE_DB": said}))
    fault = await failed(database, "SELECT 1")
    await database.close()
    assert fault.error_type == "bad_request"
    assert "`made_db`" in str(fault)
    assert "postgresql://user:password@host" in str(fault)
    assert "hush" not in str(fault)


async def test_a_constraint_is_kept_and_the_attempt_leaves_nothing(database: Database) -> None:
    await do(database, INSERT, parameters={"a": 1, "b": "x"}, key="k1")
    fault = await failed(database, INSERT, parameters={"a": 1, "b": "y"}, key="k2")
    assert (fault.error_type, fault.retryable) == ("database_error", False)
    await do(database, INSERT, parameters={"a": 2, "b": "y"}, key="k2")  # its key is free: it was rolled back
    assert await count(database) == 2


async def test_more_rows_than_allowed_are_a_fault_and_not_a_part_of_them(database: Database) -> None:
    for number in range(3):
        await do(database, INSERT, parameters={"a": number, "b": "x"}, key=f"k{number}")
    assert (await failed(database, "SELECT * FROM t", max_rows=2)).error_type == "too_large"
    assert len((await do(database, "SELECT * FROM t", max_rows=3))["rows"]) == 3


async def test_two_columns_of_one_name_are_a_fault_and_none_is_dropped(database: Database) -> None:
    fault = await failed(database, "SELECT 1 AS id, 2 AS id")
    assert (fault.error_type, fault.retryable) == ("bad_request", False)
    assert "`id`" in str(fault)
    assert (await do(database, "SELECT 1 AS id, 2 AS other"))["rows"] == [{"id": 1, "other": 2}]


async def test_a_statement_is_stopped_at_its_deadline(database: Database, url: str) -> None:
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500000000) SELECT max(i) FROM n"
    fault = await failed(database, "SELECT pg_sleep(60)" if url.startswith("postgres") else slow, seconds=0.6)
    assert (fault.error_type, fault.retryable, fault.ambiguous) == ("timeout", True, False)


async def test_a_database_that_is_not_there_may_be_later() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://tester:s3cret-pass@127.0.0.1:{taken.getsockname()[1]}/none"
        database = Database(ServiceSettings(), Secrets(environ={"MADE_DB": url}))
        asked = job("execute", {"connection": "made_db", "query": "SELECT 1", "max_rows": 1})
        with pytest.raises(ServiceFault) as caught:
            await database.do(asked)
        await database.close()
    assert (caught.value.error_type, caught.value.retryable, caught.value.ambiguous) == (
        "database_unavailable",
        True,
        False,
    )
    assert "s3cret" not in asked.masker.text(str(caught.value))
    assert asked.masker.text("s3cret-pass") == "***"


@pytest.mark.parametrize(
    ("environ", "error_type"),
    [({}, "missing_secret"), ({"MADE_DB": "no url"}, "bad_request"), ({"MADE_DB": "nodb://x/y"}, "missing_driver")],
)
async def test_what_the_secret_lacks_is_said(environ: dict[str, str], error_type: str) -> None:
    database = Database(ServiceSettings(), Secrets(environ=environ))
    assert (await failed(database, "SELECT 1")).error_type == error_type
    await database.close()


async def test_offline_only_a_file_is_asked(tmp_path: Path) -> None:
    environ = {"MADE_DB": f"sqlite:///{tmp_path}/x.db", "FAR_DB": "postgresql://far.example/x"}
    database = Database(ServiceSettings(offline=True), Secrets(environ=environ))
    assert (await do(database, "SELECT 1 AS one"))["rows"] == [{"one": 1}]
    assert (await failed(database, "SELECT 1", connection="far_db")).error_type == "Offline"
    await database.close()


# --- once


async def test_a_repeated_write_gives_the_recorded_answer_and_changes_nothing(database: Database) -> None:
    insert = "INSERT INTO t (a, b) VALUES (:a, :b) RETURNING a, b"
    first = await do(database, insert, parameters={"a": 1, "b": "x"}, key="k1")
    assert first == {"rows": [{"a": 1, "b": "x"}], "row_count": 1}
    assert await do(database, insert, parameters={"a": 1, "b": "x"}, key="k1") == first
    update = "UPDATE t SET a = a + 1"
    for _ in range(3):
        assert await do(database, update, key="k2") == {"rows": [], "row_count": 1}
    assert (await do(database, "SELECT a FROM t"))["rows"] == [{"a": 2}]


async def test_attempts_beside_each_other_apply_a_write_once(database: Database) -> None:
    await do(database, INSERT, parameters={"a": 0, "b": "x"}, key="k0")
    update = "UPDATE t SET a = a + 1"
    answers = await asyncio.gather(*(do(database, update, key="k1") for _ in range(6)), return_exceptions=True)
    answers = [each for each in answers if not isinstance(each, ServiceFault) or not each.retryable]
    assert answers
    assert all(each == {"rows": [], "row_count": 1} for each in answers)
    assert (await do(database, "SELECT a FROM t"))["rows"] == [{"a": 1}]


@pytest.mark.parametrize("last", ["sqlalchemy.Connection.commit", "stream_orchestrator.calls.database._answer_of"])
async def test_an_attempt_that_died_before_its_commit_is_made_again(
    database: Database, monkeypatch: Any, last: str
) -> None:
    class Dies(BaseException):
        """The process ends here."""

    def dies(*_: Any) -> None:
        raise Dies

    monkeypatch.setattr(last, dies)
    with pytest.raises(Dies):
        await do(database, INSERT, parameters={"a": 1, "b": "x"}, key="k1")
    monkeypatch.undo()
    assert await count(database) == 0
    await do(database, INSERT, parameters={"a": 1, "b": "x"}, key="k1")
    assert await count(database) == 1


# --- values


async def test_values_come_back_as_json_has_them(database: Database, url: str) -> None:
    if url.startswith("postgres"):
        query = """SELECT 1.10::numeric AS n, DATE '2026-01-02' AS d, TIMESTAMPTZ '2026-01-02 03:04:05+00' AS t,
                   '\\x00ff'::bytea AS y, true AS b, NULL AS z, '{"a": [1]}'::jsonb AS j, ARRAY[1, 2] AS l,
                   'NaN'::float AS f"""
        (row,) = (await do(database, query))["rows"]
        assert row.pop("t").startswith("2026-01-02T")
        assert row == {
            "n": "1.10",
            "d": "2026-01-02",
            "y": "AP8=",
            "b": True,
            "z": None,
            "j": {"a": [1]},
            "l": [1, 2],
            "f": "nan",
        }
    else:
        query = "SELECT 1 AS i, 1.5 AS f, 'x' AS s, x'00ff' AS y, NULL AS z"
        assert (await do(database, query))["rows"] == [{"i": 1, "f": 1.5, "s": "x", "y": "AP8=", "z": None}]


@pytest.mark.parametrize(
    ("statement", "reads"),
    [
        ("SELECT 1", True),
        ("  -- a note\n select 1", True),
        ("WITH a AS (SELECT 1) SELECT * FROM a", True),
        ("(SELECT 1) UNION (SELECT 2)", True),
        ("WITH a AS (DELETE FROM t RETURNING a) SELECT * FROM a", False),
        ("SELECT * INTO u FROM t", False),
        ("SELECT nextval('s')", False),
        ("SELECT * FROM t FOR UPDATE", False),
        ("INSERT INTO t VALUES (1)", False),
        ("CREATE TABLE u (a INT)", False),
        ("PRAGMA journal_mode = WAL", False),
        ("", False),
    ],
)
def test_what_reads_is_told_by_its_words(statement: str, reads: bool) -> None:
    assert _only_reads(statement) is reads
