"""Names on the wire: slugs, topics, application ids.

Promises
  * Between dots a name holds only `[a-z0-9-]`; no slug is ever empty.
  * Two texts that differ only in letters without an ASCII form get different slugs (a hash is kept).
  * Internal names hold version and hash, so two versions never share a topic.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator

from stream_orchestrator.plan.model import RESULT, SHARED, START, Plan, TaskPlan

MAX_TOPIC = 249  # Kafka's own limit
MAX_SLUG = 100  # leaves room for a prefix, a version and a second slug in one topic
HOUSE = "orchestrator"  # `orchestrator.*` topics are ours, so no pipeline may have this slug
INTERNAL = frozenset({START.strip(":"), RESULT.strip(":"), "table"})  # inboxes and tables that are not tasks
_TEMPLATE = re.compile(r"\{\{.*?\}\}")
_SPELLED = str.maketrans({"ß": "ss", "æ": "ae", "ø": "o", "œ": "oe", "ł": "l", "đ": "d", "þ": "th", "ð": "d", "ı": "i"})


def slug(text: str) -> str:
    """Lower case, everything else than letters and digits to single dashes. Lossy texts keep a hash, long ones too."""
    plain = unicodedata.normalize("NFKD", text.lower().translate(_SPELLED))
    lost = any(letter.isalnum() and not letter.isascii() for letter in plain)
    kept = "".join(letter for letter in plain if letter.isascii() or not unicodedata.combining(letter))
    words = re.sub(r"[^a-z0-9]+", "-", kept).strip("-")
    if lost or not words:
        words = f"{words or 'x'}-{_digest(text)}"
    return words if len(words) <= MAX_SLUG else f"{words[: MAX_SLUG - 9].rstrip('-')}-{_digest(text)}"


def task_slug(name: str) -> str:
    """A slug for a task; never one of the inboxes or tables that every version has."""
    made = slug(name)
    return f"{made}-task" if made in INTERNAL else made


def spoken(name: str) -> str:
    """A task's name as it is told: of a computed one, `chunk_{{ item.index }}`, what does not change: `chunk`."""
    return (_TEMPLATE.sub("", name).strip(" _-.:#/") or "child") if "{{" in name else name


def version_id(plan: Plan) -> str:
    """`<slug>.<1-2-0>-<hash8>`: one compiled version, as it stands in topics, groups and tables."""
    return f"{plan.slug}.{slug(plan.version)}-{plan.hash[:8]}"


def app_id(prefix: str, plan: Plan) -> str:
    """The consumer group of a version."""
    return f"{prefix}{version_id(plan)}"


def inbox(prefix: str, plan: Plan, task: str) -> str:
    """The inbox of a task, by its slug; `START` and `RESULT` have one too."""
    return f"{prefix}{version_id(plan)}.{task.strip(':')}"


def inboxes(prefix: str, plan: Plan) -> list[str]:
    """Every inbox of a version: its own tasks' and those inside containers, `start` and `result` of each."""
    return [f"{app_id(prefix, plan)}.{inbox}" for inbox in _inboxes(plan.tasks, "")]


def inboxes_for(prefix: str, plan: Plan, pipeline: str) -> list[str]:
    """The inboxes of a version's tasks that run another pipeline, by its slug."""
    return [f"{app_id(prefix, plan)}.{inbox}" for inbox in _waiting(plan.tasks, "", pipeline)]


def _waiting(tasks: Iterable[TaskPlan], inside: str, pipeline: str) -> Iterator[str]:
    for task in tasks:
        if pipeline in task.pipelines:
            yield inside + task.slug
        for number, body in enumerate(task.bodies):
            yield from _waiting(body.tasks, f"{inside}{task.slug}.{number}.", pipeline)


def listener_id(prefix: str, plan: Plan, pipeline: str) -> str:
    """The consumer group in which a version hears of the results of another pipeline."""
    return f"{app_id(prefix, plan)}.of.{pipeline}"


def _inboxes(tasks: Iterable[TaskPlan], inside: str) -> Iterator[str]:
    tasks = tuple(tasks)
    yield from (inside + slug.strip(":") for slug in (START, *(task.slug for task in tasks), RESULT))
    for task in tasks:
        for number, body in enumerate(task.bodies):
            below = f"{inside}{task.slug}.{number}."
            yield from _inboxes(body.tasks, below)
            yield from (below + SHARED for _ in range(body.open))


def table_topic(prefix: str, plan: Plan) -> str:
    """The changelog of a version's rows."""
    return f"{prefix}{version_id(plan)}.table"


def input_topic(prefix: str, pipeline: str) -> str:
    """Where users put events; `pipeline` is its slug."""
    return f"{prefix}{pipeline}.input"


def results_topic(prefix: str, pipeline: str) -> str:
    """Where exactly one result a run is published."""
    return f"{prefix}{pipeline}.results"


def dlq_topic(prefix: str, pipeline: str) -> str:
    """Where dead letters go, original bytes and all."""
    return f"{prefix}{pipeline}.dlq"


def ingest_topic(prefix: str, pipeline: str) -> str:
    """Where records whose id is not their position meet their copies."""
    return f"{prefix}{pipeline}.ingest"


def calls_topic(prefix: str, service: str) -> str:
    """The inbox of a service's call agents."""
    return f"{prefix}{HOUSE}.calls.{service}"


def answers_topic(prefix: str, service: str) -> str:
    """Where the answer to a call goes when its partition has moved meanwhile: past all calls that wait."""
    return f"{calls_topic(prefix, service)}.answers"


def plans_topic(prefix: str) -> str:
    """The compacted topic of deployed plans and active versions."""
    return f"{prefix}{HOUSE}.plans"


def audit_topic(prefix: str) -> str:
    """What happened, one record per slot."""
    return f"{prefix}{HOUSE}.audit"


def state_topic(prefix: str) -> str:
    """What is written to state that outlives runs, for its owner."""
    return f"{prefix}{HOUSE}.state"


def state_table(prefix: str) -> str:
    """The table of that state; every worker has a copy."""
    return f"{state_topic(prefix)}.table"


def house_dlq_topic(prefix: str) -> str:
    """Undecodable internal records, with their position."""
    return f"{prefix}{HOUSE}.dlq"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
