"""The task kinds, one file each: what it reads, what it asks the kernel to do, its options, its documentation."""

from stream_orchestrator.kernel.kinds import TaskKind
from stream_orchestrator.tasks.containers import CONTAINERS
from stream_orchestrator.tasks.llm_task import LlmTask
from stream_orchestrator.tasks.python_task import PythonTask

TASK_KINDS: tuple[TaskKind, ...] = (PythonTask(), LlmTask(), *CONTAINERS)
KINDS: dict[str, TaskKind] = {kind.name: kind for kind in TASK_KINDS}

__all__ = ["KINDS", "TASK_KINDS"]
