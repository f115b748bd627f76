"""Scripts as authors write them, prepared by the plan and run in the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from stream_orchestrator.kernel.effects import RunScript, ScriptDone
from stream_orchestrator.plan import binding
from stream_orchestrator.plan.scripts import Script
from stream_orchestrator.trust.child import trace
from stream_orchestrator.trust.pool import ScriptPool

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = [
    "'; import os; os._exit(1) #",
    '"""\nraise SystemExit\n"""',
    "{{ 1 / 0 }}",
    "{% raw %}",
    '__b__["v0"]',
    "\\",
    "\0",
    "${x} %s {x!r}",
    "\r\n\u2028return 1",
    "__import__('os').abort()",
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScriptPool]:
    async with ScriptPool(size=1, scratch=tmp_path_factory.mktemp("scratch")) as pool:
        yield pool


async def run(pool: ScriptPool, text: str, scope: dict[str, Any]) -> ScriptDone:
    made = Script.parse(text).prepare(scope)
    names = {name: scope[name] for name in made.names}
    return await pool.run(RunScript(source=made.source, digest=made.digest, bindings=made.bindings, names=names))


async def test_the_plan_and_the_sandbox_agree_on_the_header() -> None:
    assert trace.HEADER == binding.HEADER


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("text", ["{{ x }}", "f'{len(x)}' and '''{{ x }}'''", "[{{ x }}][0]", "x", 'f"""{x}"""'])
async def test_a_hostile_value_comes_back_as_it_went_in(pool: ScriptPool, text: str, value: str) -> None:
    done = await run(pool, text, {"x": value})
    assert (done.kind, done.value) == ("value", value)


async def test_a_name_that_the_script_changes_can_be_read_before(pool: ScriptPool) -> None:
    assert (await run(pool, "n = n + 1\nn", {"n": 1})).value == 2
    assert (await run(pool, "n = n + 1\nn", {"n": 5})).value == 6


async def test_an_async_script_is_awaited(pool: ScriptPool) -> None:
    assert (await run(pool, "import asyncio\nawait asyncio.sleep(0)\n{{ n }}", {"n": 3})).value == 3


@pytest.mark.parametrize("text", ["x = 0\n\n1 / x", "\n\n1 / 0", "  a = 1\n  b = 0\n  a / b"])
async def test_an_error_names_the_line_of_the_author(pool: ScriptPool, text: str) -> None:
    assert (await run(pool, text, {})).message == "line 3: division by zero"


async def test_an_error_names_the_authors_line_although_a_template_chose_the_lines(pool: ScriptPool) -> None:
    text = "total = 0\n{% for n in ns %}\ntotal += {{ n }}\n{% endfor %}\n{% if ns %}\n1 / 0\n{% endif %}"
    assert (await run(pool, text, {"ns": [1, 2, 3]})).message == "line 6: division by zero"
