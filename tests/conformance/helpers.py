"""What the document's pipelines and tests call and do not define: the author's services, as small as they can be.

Loaded into the sandbox's processes and, for the steps of integration tests, into the test's own.
"""

from __future__ import annotations

import sqlite3
from typing import Any

_database: list[sqlite3.Connection] = []


# --- helper functions of scripts -------------------------------------------------------------------------------------


def validate_customer_data(record: dict[str, Any]) -> dict[str, Any]:
    if not record.get("email"):
        raise ValueError("a customer needs an e-mail address")
    return {**record, "valid": True}


def store_processed_data(profile: str) -> dict[str, Any]:
    return {"stored": True, "profile": profile}


def process_customer_data() -> list[str]:
    return ["ada", "grace"]


def send_marketing_emails() -> int:
    return 2


def update_inventory_counts() -> int:
    return 7


def generate_monthly_reports() -> str:
    return "report"


def backup_database() -> dict[str, Any]:
    return {"backed_up": True}


def perform_heavy_data_analysis(data: str) -> dict[str, Any]:
    return {"words": len(data.split()), "longest": max(data.split(), key=len)}


def secure_database_operation(api_key: str, password: str) -> list[str]:
    if not api_key or not password:
        raise PermissionError("no credentials")
    return ["one", "two", "three"]


def estimate_complexity(text: str) -> float:
    return min(1.0, len(set(text.split())) / 100)


def calculate_estimated_cost(model: str, tokens: int) -> float:
    return {"gpt-3.5-turbo": 0.001, "gpt-4": 0.01, "gpt-4-turbo": 0.03}[model] * tokens / 1000


def process_batch_efficiently(batch: list[dict[str, Any]]) -> list[int]:
    return [len(member) for member in batch]


# --- steps and checks of integration tests ---------------------------------------------------------------------------


def start_test_database() -> None:
    _database.append(sqlite3.connect(":memory:", check_same_thread=False))
    _database[0].execute("create table records (feature text)")


def load_test_data() -> dict[str, Any]:
    post = "Streams carry what has happened; pipelines say what is to be done about it, once, whatever fails. " * 3
    return {"test_articles": {"sample_blog_post": post}}


def configure_test_apis() -> None:
    """Models are answered offline."""


def database_records_created(result: Any) -> int:
    """The author's service would store a record for each feature of the run that ended well; here this table does."""
    if result.status == "succeeded":
        _database[0].executemany("insert into records values (?)", [("sentiment",), ("topics",), ("quality",)])
    return int(_database[0].execute("select count(*) from records").fetchone()[0])


def cache_entries_created(result: Any) -> int:
    """The author's cache: an entry for each output that the run gave."""
    return len(result.outputs)


def cleanup_test_data() -> None:
    _database[0].execute("delete from records")


def stop_test_database() -> None:
    _database.pop().close()
