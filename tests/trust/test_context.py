"""What scripts see: inputs, `context`, `logger`, helpers, models, secrets."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sandbox_scripts import script

from stream_orchestrator.kernel.effects import RunScript
from stream_orchestrator.trust.pool import ScriptPool
from stream_orchestrator.trust.secrets import Secrets

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELPERS = """
import json
from statistics import mean

RATE = 3

def twice(n):
    return n * 2

def fails():
    raise LookupError("no row")

def _private():
    return 1
"""
ENVIRON = {
    "DATABASE_PASSWORD": "correct horse battery",
    "api-token": "t0ps3cret/+token",
    "REGION": "eu-north-1",
    "OPENAI_API_KEY": "sk-worker-0123456789",
    "KAFKA_PASSWORD": "kafka-0123456789",
}
INFO = {
    "run_id": "run-7",
    "key": "k",
    "pipeline": "orders",
    "version": "1.0.0",
    "task": "score",
    "attempt": 1,
    "variables": {"limit": 5, "city": "Turku"},
    "outputs": {"clean": {"n": 1}},
}


def count(text: str, *, least: int = 0) -> int:
    return max(least, len(text))


async def fetch(key: str) -> dict[str, Any]:
    if key == "gone":
        raise KeyError(key)
    return {"key": key}


def leaky() -> None:
    raise RuntimeError(f"cannot log in with {ENVIRON['DATABASE_PASSWORD']}")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScriptPool]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "mounted").mkdir()
    (folder / "mounted" / "smtp").write_text("hunter2-hunter2\n")
    async with ScriptPool(
        size=1,
        functions=[str(folder / "helpers.py"), "colorsys"],
        host_functions={"count": count, "fetch": fetch, "leaky": leaky, "bad": lambda: object()},
        secrets=Secrets(environ=ENVIRON, mounted=folder / "mounted"),
        fingerprint_key=b"a key of the tests",
        scratch=folder / "scratch",
    ) as pool:
        yield pool


VALUES = {
    "names": ("return a + b", 3),
    "bindings": ("return __b__['x']", "bound"),
    "an async script": ("import asyncio\nawait asyncio.sleep(0)\nreturn a", 1),
    "the output of a task": ("return context.get_task_output('clean')", {"n": 1}),
    "a default for an output": ("return context.get_task_output('none', 9)", 9),
    "no output": ("return context.get_task_output('none')", None),
    "a variable": ("return context.get_variable('city')", "Turku"),
    "a default for a variable": ("return context.get_variable('none', 1)", 1),
    "all variables": ("return context.get_all_variables()", {"limit": 5, "city": "Turku"}),
    "the pipeline": ("return context.get_pipeline_id()", "orders"),
    "the run": ("return context.get_execution_id()", "run-7"),
    "a helper": ("return twice(a)", 2),
    "a helper's constant": ("return RATE", 3),
    "what a helper module imported": ("return mean([1, 3])", 2),
    "a module of helpers": ("return rgb_to_hls(0, 0, 0)", [0.0, 0.0, 0.0]),
    "a function of the worker": ("return count('four', least=2)", 4),
    "an async function of the worker": ("return fetch('k')", {"key": "k"}),
    "a caught failure of the worker's function": (
        "try: fetch('gone')\nexcept RuntimeError as error: return str(error)",
        "KeyError: 'gone'",
    ),
    "an input before a helper": ("return RATE if b == 2 else 0", 3),
    "a secret by its variable": ("return len(context.get_secret('database_password'))", 21),
    "a secret by its exact name": ("return len(context.get_secret('api-token'))", 16),
    "a mounted secret": ("return context.get_secret('smtp')", "hunter2-hunter2"),
    "a caught missing secret": ("try: context.get_secret('none')\nexcept LookupError: return 'none'", "none"),
}


@pytest.mark.parametrize(("body", "value"), VALUES.values(), ids=VALUES.keys())
async def test_a_script_reads(pool: ScriptPool, body: str, value: Any) -> None:
    done = await pool.run(script(body, names={"a": 1, "b": 2}, bindings={"x": "bound"}, info=INFO))
    assert (done.kind, done.value) == ("value", value), done


FAILURES = {
    "a name that is nowhere": ("return nowhere", "NameError", "line 1: name 'nowhere' is not defined"),
    "a private helper": ("return _private()", "NameError", "_private"),
    "a module of a helper": ("return json", "NameError", "json"),
    "a helper that fails": ("x = 1\nreturn fails()", "LookupError", "line 2: no row"),
    "a missing secret": ("context.get_secret('none')", "SecretMissing", "no secret `none`: set NONE, or mount "),
    "a secret of the worker": ("context.get_secret('openai_api_key')", "SecretMissing", "belongs to the worker"),
    "a secret outside its folder": ("context.get_secret('../helpers.py')", "SecretMissing", "no secret"),
    "an unknown method": ("context.get_gold()", "AttributeError", "`context` has no `get_gold`"),
    "a metric that is no number": ("context.record_metric('n', 'many')", "TypeError", "`n` needs a number, not str"),
    "an audit entry that is no JSON": ("context.log_audit_event({'at': object()})", "NotJson", "entry['at']"),
    "a result that is no JSON": ("bad()", "HostFunctionError", "`its result` is object"),
    "too many alerts": ("for n in range(2000): context.send_alert('x')", "RuntimeError", "more than 1,000"),
    "an audit entry of 1 MB": ("context.log_audit_event('x' * 2**20)", "ValueError", "larger than 64 KB"),
}


@pytest.mark.parametrize(("body", "error", "message"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_script_fails_on(pool: ScriptPool, body: str, error: str, message: str) -> None:
    done = await pool.run(script(body, info=INFO))
    assert (done.kind, done.error_type) == ("error", error), done
    assert message in done.message


async def test_an_input_hides_a_helper_and_never_the_context(pool: ScriptPool) -> None:
    names = {"twice": 5, "context": "mine", "logger": "mine", "process_with_llm": "mine"}
    done = await pool.run(script("return [twice, isinstance(context, str), isinstance(logger, str)]", names=names))
    assert done.value == [5, False, False]


async def test_the_helpers_are_known_to_the_worker(pool: ScriptPool) -> None:
    assert {"twice", "RATE", "fails", "mean", "rgb_to_hls", "count", "fetch"} <= pool.helper_names()
    assert not {"_private", "json", "colorsys"} & pool.helper_names()


async def test_reports_come_in_order_with_their_fields(pool: ScriptPool) -> None:
    body = """
    print("one", "two", sep="-")
    logger.info("%s of %d", "three", 4)
    logger.debug("100%")
    logger.warning("lost %d", "x")
    context.log_info("five", order=7)
    context.log_warning("six")
    context.log_error("seven")
    context.record_metric("rows", 3, kind="new")
    context.log_audit_event({"who": "me"})
    context.send_alert("hot", severity="high")
    context.update_progress(0.5, "half")
    try:
        1 / 0
    except ZeroDivisionError:
        logger.exception("caught")
    """
    done = await pool.run(script(body))
    assert list(done.reports) == [
        {"kind": "log", "level": "info", "message": "one-two", "source": "print"},
        {"kind": "log", "level": "info", "message": "three of 4"},
        {"kind": "log", "level": "debug", "message": "100%"},
        {"kind": "log", "level": "warning", "message": "lost %d ('x',)"},
        {"kind": "log", "level": "info", "message": "five", "fields": {"order": 7}},
        {"kind": "log", "level": "warning", "message": "six"},
        {"kind": "log", "level": "error", "message": "seven"},
        {"kind": "metric", "name": "rows", "value": 3, "labels": {"kind": "new"}},
        {"kind": "audit", "entry": {"who": "me"}},
        {"kind": "alert", "message": "hot", "fields": {"severity": "high"}},
        {"kind": "log", "level": "info", "message": "50% half", "progress": 0.5},
        {"kind": "log", "level": "error", "message": "caught\nline 13: division by zero"},
    ]


async def test_an_unfinished_line_and_bytes_are_said_too(pool: ScriptPool) -> None:
    done = await pool.run(script("import sys\nsys.stdout.buffer.write(b'a\\nb')\nsys.stderr.write('c')"))
    assert [(report["level"], report["message"]) for report in done.reports] == [
        ("info", "a"),
        ("info", "b"),
        ("warning", "c"),
    ]


async def test_a_fingerprint_is_the_same_for_the_same_value_and_needs_its_key(pool: ScriptPool, tmp_path: Path) -> None:
    body = "return [context.fingerprint(value) for value in ({'b': 1, 'a': 2}, {'a': 2, 'b': 1}, 'x')]"
    one, same, other = (await pool.run(script(body))).value
    assert one == same != other
    async with ScriptPool(size=1, fingerprint_key=b"another", scratch=tmp_path) as second:
        assert (await second.run(script(body))).value[0] != one
    async with ScriptPool(size=1, secrets=Secrets(environ={}), scratch=tmp_path) as keyless:
        assert "FINGERPRINT_KEY" in (await keyless.run(script(body))).message


async def test_the_environment_is_empty_but_for_what_is_named(pool: ScriptPool) -> None:
    os.environ["LEAKS"] = "1"
    done = await pool.run(script("import os; return dict(os.environ)", env=("REGION", "ABSENT")))
    assert {"REGION": "eu-north-1"}.items() <= done.value.items()
    assert set(done.value) == {"HOME", "TMPDIR", "REGION"}
    assert set((await pool.run(script("import os; return dict(os.environ)"))).value) == {"HOME", "TMPDIR"}


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "KAFKA_PASSWORD", "STREAM_ORCHESTRATOR__TOPICS__PREFIX", "REDIS_URL"]
)
async def test_a_variable_of_ours_is_refused_aloud(pool: ScriptPool, name: str) -> None:
    done = await pool.run(script(f"import os; return os.getenv('{name}')", env=(name,)))
    assert done.value is None
    assert done.reports[0]["message"] == f"the variable {name} belongs to the worker: scripts do not get it"


async def test_a_secret_is_masked_in_errors_and_reports(pool: ScriptPool) -> None:
    body = """
    import base64
    secret = context.get_secret("database_password")
    print("it is", secret, base64.b64encode(b"user:" + secret.encode()))
    context.log_audit_event({secret: [secret]})
    raise ValueError(f"bad password {secret}")
    """
    done = await pool.run(script(body))
    assert done.message == "line 5: bad password ***"
    assert done.reports[0]["message"].startswith("it is *** b'dXNlcj")
    assert done.reports[1]["entry"] == {"***": ["***"]}
    assert "Y29ycmVjdC" not in str(done.reports)
    leaked = await pool.run(script("leaky()"))
    assert leaked.message == "line 1: RuntimeError: cannot log in with ***"


@pytest.mark.parametrize(
    "said", ["print(context.get_secret('smtp'))", "import os\nprint(os.environ['REGION'])"], ids=["mounted", "variable"]
)
async def test_what_a_script_got_is_masked_whatever_its_name_looks_like(pool: ScriptPool, said: str) -> None:
    done = await pool.run(script(said, env=("REGION",)))
    assert done.reports[0]["message"] == "***"


async def test_a_key_of_the_worker_is_masked_wherever_it_turns_up(pool: ScriptPool) -> None:
    done = await pool.run(script("print(text)", names={"text": ENVIRON["OPENAI_API_KEY"]}))
    assert done.reports[0]["message"] == "***"


# Models


async def test_a_question_without_an_answer_ends_the_script_and_asks(pool: ScriptPool) -> None:
    done = await pool.run(script("return process_with_llm('hi', model='m', temperature=0)['text']"))
    assert (done.kind, done.call_number) == ("call", 1)
    assert done.request == {"text": "hi", "model": "m", "params": {"temperature": 0}}


async def test_a_script_goes_on_from_its_journal_question_by_question(pool: ScriptPool) -> None:
    body = "a = process_with_llm('one')\nb = process_with_llm(a['text'] + '!')\nreturn [a, b['text']]"
    first = {"text": "uno", "tokens": 3, "cost": 0.5, "model": "m"}
    asked = await pool.run(script(body, journal={"1": first}))
    assert (asked.kind, asked.call_number, asked.request["text"]) == ("call", 2, "uno!")
    done = await pool.run(script(body, journal={"1": first, "2": {**first, "text": "due"}}))
    assert done.value == [first, "due"]


async def test_an_async_script_may_await_its_questions(pool: ScriptPool) -> None:
    body = """
    import asyncio
    async def ask(text):
        return (await process_with_llm(text))["text"]
    return await asyncio.gather(ask("one"), ask("two"))
    """
    asked = await pool.run(script(body, journal={"1": {"text": "uno"}}))
    assert (asked.kind, asked.call_number, asked.request["text"]) == ("call", 2, "two")
    done = await pool.run(script(body, journal={"1": {"text": "uno"}, "2": {"text": "due"}}))
    assert done.value == ["uno", "due"]


SWALLOWED = {
    "except Exception": "try: process_with_llm('hi')\nexcept Exception: return 'swallowed'",
    "except BaseException": "try: process_with_llm('hi')\nexcept BaseException: return 'swallowed'",
    "a bare except": "try: process_with_llm('hi')\nexcept: pass\nreturn 'swallowed'",
    "finally with return": "try: process_with_llm('hi')\nfinally: return 'swallowed'",
    "another error": "try: process_with_llm('hi')\nexcept BaseException: 1 / 0",
    "another question": "try: process_with_llm('hi')\nexcept BaseException: process_with_llm('again')",
    "an exit": "try: process_with_llm('hi')\nexcept BaseException: raise SystemExit",
    "a task nobody awaits": (
        "import asyncio\nasync def ask(): process_with_llm('hi')\n"
        "t = asyncio.create_task(ask())\nawait asyncio.sleep(0)"
    ),
}


@pytest.mark.parametrize("body", SWALLOWED.values(), ids=SWALLOWED.keys())
async def test_a_question_stays_open_whatever_the_script_does_with(pool: ScriptPool, body: str) -> None:
    done = await pool.run(script(body))
    assert (done.kind, done.call_number) == ("call", 1)
    assert done.request["text"] == "hi"


async def test_a_failed_question_is_an_error_that_a_script_may_catch(pool: ScriptPool) -> None:
    journal = {"1": {"error_type": "RateLimited", "message": "try later"}}
    done = await pool.run(script("process_with_llm('hi')", journal=journal))
    assert (done.error_type, done.message) == ("LLMError", "line 1: try later")
    caught = "try: process_with_llm('hi')\nexcept RuntimeError as e: return [e.error_type, str(e)]"
    assert (await pool.run(script(caught, journal=journal))).value == ["RateLimited", "try later"]


async def test_a_question_from_another_thread_is_refused(pool: ScriptPool) -> None:
    body = """
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(process_with_llm, "hi").result()
    """
    assert "the script's own thread" in (await pool.run(script(body))).message


async def test_run_is_read_by_attribute_and_by_key(pool: ScriptPool) -> None:
    names = {"run": {"id": "r-1", "key": None}}
    done = await pool.run(
        RunScript(
            source="def __step__(__b__):\n    return [run.id, run['id'], run.key, run]\n", digest="run", names=names
        )
    )
    assert done.value == ["r-1", "r-1", None, {"id": "r-1", "key": None}]
