"""Scripts run in this process, at once: for tests of what happens around them."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from stream_orchestrator.kernel.effects import RunScript, ScriptDone


class _Context:
    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info

    def get_task_output(self, name: str, default: Any = None) -> Any:
        return self.info["outputs"].get(name, default)

    def get_variable(self, name: str, default: Any = None) -> Any:
        return self.info["variables"].get(name, default)

    def get_all_variables(self) -> dict[str, Any]:
        return dict(self.info["variables"])


@dataclass
class InProcess:
    """Runs scripts with `exec`. `ran` counts by task and item; `most` is how many ran at once.

    `begins` is what is said, turn by turn, of whether one would begin soon.
    """

    functions: dict[str, Any] = field(default_factory=dict)
    ran: Counter[tuple[str, Any]] = field(default_factory=Counter)
    running: int = 0
    most: int = 0
    begins: tuple[bool, ...] = (True,)
    asked: int = 0

    def prompt(self, job: RunScript) -> bool:
        self.asked += 1
        return self.begins[self.asked % len(self.begins)]

    async def run(self, job: RunScript) -> ScriptDone:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            self.ran[job.info["task"], (job.info.get("loop") or job.names.get("item") or {}).get("index")] += 1
            space: dict[str, Any] = {"context": _Context(job.info), **self.functions, **job.names}
            exec(job.source, space)
            value = space["__step__"](job.bindings)
            return ScriptDone(kind="value", value=await value if inspect.isawaitable(value) else value)
        except Exception as error:
            return ScriptDone(kind="error", error_type=type(error).__name__, message=str(error))
        finally:
            self.running -= 1
