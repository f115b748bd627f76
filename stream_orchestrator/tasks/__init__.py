"""The task kinds, one file each: what it reads, what it asks the kernel to do, its options, its documentation."""

from stream_orchestrator.kernel.kinds import TaskKind
from stream_orchestrator.tasks.api_task import ApiTask
from stream_orchestrator.tasks.containers import CONTAINERS
from stream_orchestrator.tasks.custom import Kinds
from stream_orchestrator.tasks.database_task import DatabaseTask
from stream_orchestrator.tasks.email_task import EmailTask
from stream_orchestrator.tasks.file_task import FileTask
from stream_orchestrator.tasks.llm_task import LlmTask
from stream_orchestrator.tasks.python_task import PythonTask
from stream_orchestrator.tasks.web_scraping_task import WebScrapingTask
from stream_orchestrator.tasks.web_search_task import WebSearchTask

TASK_KINDS: tuple[TaskKind, ...] = (
    PythonTask(),
    LlmTask(),
    WebScrapingTask(),
    WebSearchTask(),
    ApiTask(),
    FileTask(),
    DatabaseTask(),
    EmailTask(),
    *CONTAINERS,
)
KINDS: dict[str, TaskKind] = Kinds({kind.name: kind for kind in TASK_KINDS})

__all__ = ["KINDS", "TASK_KINDS"]
