"""What a task may use is kept to by the sandbox, for that script and no other."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace
from sandbox_scripts import script

from stream_orchestrator.trust.pool import ScriptPool

CORES = "import os\nreturn len(os.sched_getaffinity(0))"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this kernel cannot do that")
async def test_a_script_has_the_processors_of_its_task_and_the_next_one_has_all() -> None:
    ours = len(os.sched_getaffinity(0))
    async with ScriptPool(size=1) as pool:
        found = [(await pool.run(replace(script(CORES), cores=cores))).value for cores in (0, 1, 0, 1000)]
    assert found == [ours, 1, ours, ours]


async def test_a_script_cannot_take_more_processors_than_it_was_given() -> None:
    async with ScriptPool(size=1) as pool:
        done = await pool.run(replace(script("import os\nos.sched_setaffinity(0, {0, 1})"), cores=1))
    assert done.kind == "error"
