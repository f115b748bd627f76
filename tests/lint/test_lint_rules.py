"""Each rule finds what it is about, and leaves alone what looks like it and is right."""
# ruff: noqa: E501 - a case of the table is one line

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import yaml

from stream_orchestrator.plan.lint import RULES, Finding, lint
from stream_orchestrator.plan.loading import load_path

HEADER = """\
name: Orders
version: 1.0.0
description: Sorts orders
author: us
contact: us@example.org
documentation_url: docs.md
changelog: [{version: 1.0.0, changes: first}]
"""


def script(text: str, *, others: str = "") -> str:
    body = textwrap.indent(textwrap.dedent(text).strip("\n"), " " * 6)
    task = f"  - name: sort_orders\n    type: python_task\n    description: Sorts\n    script: |\n{body}\n"
    return f"{HEADER}tasks:\n{others}{task}"


def prompt(**keys: str) -> str:
    task = {
        "name": "summarize",
        "type": "llm_task",
        "description": "d",
        "model": "offline/echo",
        "prompt": "Hi",
        **keys,
    }
    return HEADER + yaml.safe_dump({"tasks": [task]}, sort_keys=False)


SUMMARY = "  - {name: summary, type: llm_task, description: d, model: offline/echo, prompt: Hi}\n"
LIST = "  - {name: summary, type: llm_task, description: d, model: offline/echo, prompt: Hi, output_type: array}\n"
CLEAN = "  - {name: anonymize_data, type: python_task, description: d, script: return 1}\n"

# rule, what it finds, what it leaves alone
CASES = [
    ("hard-coded-credential", script('key = "sk-1234567890abcdef"\nreturn len(key)'), script('key = "sk-xxxxxxxxxxxxxxxx"\nreturn 1')),
    ("hard-coded-credential", script('password = "admin123"\nreturn 1'), script('import os\npassword = os.getenv("DB_PASSWORD")\nreturn 1')),
    ("hard-coded-credential", script('x = connect(password="hunter22")\nreturn 1'), script('x = context.get_secret("database_password")\nreturn 1')),
    ("hard-coded-credential", script('import os\nk = os.getenv("API_KEY", "s3cr3t-value")\nreturn 1'), script('import os\nk = os.environ["API_KEY"]\nreturn 1')),
    ("hard-coded-credential", script('return {"token": "a1b2c3d4e5"}'), script('return {"max_tokens": "a1b2c3d4e5"}')),
    ("hard-coded-credential", script('ok = password == "admin123"\nreturn ok'), script('ok = kind == "admin123"\nreturn ok')),
    ("hard-coded-credential", script("# key: ghp_abcdefghijklmnopqrstuvwxyz\nreturn 1"), script("# key: get it from the vault\nreturn 1")),
    ("hard-coded-credential", script('url = "postgres://app:s3cret@db/x"\nreturn 1'), script('url = "postgres://db/x"\nreturn 1')),
    ("hard-coded-credential", prompt(prompt="Use AKIAIOSFODNN7ABCDEFG"), prompt(prompt="Use {{ input_data }}")),
    ("hard-coded-credential", HEADER + "x-headers: {api_key: 0a1b2c3d4e}\ntasks: []", HEADER + "x-headers: {api_key: '{{ env.KEY }}'}\ntasks: []"),
    ("high-entropy-text", script('x = "q7Zk3LmP0xWv9RtYb2NcDf5H"\nreturn 1'), script('x = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"\nreturn 1')),
    ("high-entropy-text", script('x = "9f86d081884c7d659a2feaa0c55ad015"\nreturn 1'), script('sha256 = "9f86d081884c7d659a2feaa0c55ad015"\nreturn 1')),
    ("secret-returned", script('k = context.get_secret("k")\nreturn {"a": [k]}'), script('k = context.get_secret("k")\nreturn {"a": bool(k)}')),
    ("secret-returned", script('k = context.get_secret("k")\nf"{k}"'), script('k = context.get_secret("k")\nk = "***"\nreturn k')),
    ("secret-returned", script('import os\nd = {}\nd["t"] = os.environ["TOKEN"]\nreturn d'), script('import os\nreturn os.environ["REGION"]')),
    ("secret-returned", script('def f():\n    return context.get_secret("k")\nreturn f()'), script('def f():\n    return context.get_secret("k")\nreturn call(f())')),
    ("secret-returned", script('a, b = context.get_secret("k"), 1\nreturn a'), script('a, b = context.get_secret("k"), 1\nreturn b')),
    ("secret-logged", script('k = context.get_secret("k")\nprint(f"key {k}")'), script('k = context.get_secret("k")\nprint("got the key", len(k))')),
    ("secret-logged", script('k = context.get_secret("k")\nlogger.info("%s", k.strip())\nreturn 1'), script('k = context.get_secret("k")\nlogger.info("%s", context.fingerprint(k))\nreturn 1')),
    ("secret-logged", script('k = context.get_secret("k")\ncontext.log_error("no " + k)\nreturn 1'), script('context.log_error("no")\nreturn 1')),
    ("secret-logged", script('k = context.get_secret("k")\nraise ValueError(f"bad {k}")'), script('k = context.get_secret("k")\nraise ValueError("bad")')),
    ("secret-handed-on", script('k = context.get_secret("k")\ncontext.set_cache("a", k)\nreturn 1'), script('context.set_cache("a", 1)\nreturn 1')),
    ("secret-handed-on", prompt(prompt="Key: {{ env.API_KEY }}") + "env: [API_KEY]\n", prompt(prompt="In {{ env.REGION }}") + "env: [REGION]\n"),
    ("hash-of-secret", script('k = context.get_secret("k")\nreturn hash(k)'), script('return hash("name")')),
    ("hash-of-secret", script('import hashlib\nk = context.get_secret("k")\nreturn hashlib.sha256(k.encode()).hexdigest()'), script('import hmac\nk = context.get_secret("k")\nreturn hmac.new(k.encode(), b"x", "sha256").hexdigest()')),
    ("monolith-script", script("a()\nb()\nc()\nd()\ne()\nreturn 1"), script("a()\nb()\nc()\nd()\nreturn len(sorted([1]))")),
    ("monolith-script", script("\n".join(["x = 1"] * 61)), script("\n".join(["x = 1", "", "# why"] * 59))),
    ("raise-e", script("try:\n    f()\nexcept ValueError as e:\n    log(e)\n    raise e"), script("try:\n    f()\nexcept ValueError as e:\n    raise KeyError(1) from e")),
    ("raise-e", script("try:\n    f()\nexcept ValueError as e:\n    if g():\n        raise e"), script("try:\n    f()\nexcept ValueError as e:\n    e = g()\n    raise e")),
    ("swallowed-error", script("try:\n    f()\nexcept Exception:\n    pass\nreturn 1"), script("try:\n    f()\nexcept KeyError:\n    pass\nreturn 1")),
    ("zero-step", script("n = min(100, len(items) // 4)\nreturn [items[i] for i in range(0, 9, n)]"), script("n = max(1, len(items) // 4)\nreturn [items[i] for i in range(0, 9, n)]")),
    ("zero-step", script("return total % (len(items) // 2)"), script("return len(items) // 2")),
    ("zero-step", script("n = len(items) // 4\nreturn 10 / n"), script("n = len(items) // 4\nif n == 0:\n    n = 1\nreturn 10 / n")),
    ("batch-without-result", script("if len(context.get_current_batch()) > 9:\n    return 1\nelse:\n    context.wait_for_batch_completion(timeout=30)"), script("context.wait_for_batch_completion(timeout=30)\nreturn 1")),
    ("batch-without-result", script("context.wait_for_batch_completion()"), script("context.wait_for_batch_completion()\nlen(context.get_current_batch())")),
    ("text-as-list", script("out = []\nout.extend(summary)\nreturn out", others=SUMMARY), script("out = []\nout.extend(summary)\nreturn out", others=LIST)),
    ("text-as-list", script("return [x for x in context.get_task_output('summary')]", others=SUMMARY), script("return [x for x in summary.split()]", others=SUMMARY)),
    ("order-by-position", script("return 1", others=CLEAN), script("return anonymize_data", others=CLEAN)),
    ("order-by-position", script("return 1").replace("sort_orders", "audit_orders").replace("tasks:\n", f"tasks:\n{SUMMARY}"), script("return 1", others=SUMMARY)),
    ("undeclared-dependency", script("return context.get_task_output(which)", others=SUMMARY), script("return context.get_task_output('summary')", others=SUMMARY)),
    ("task-name", script("return 1").replace("sort_orders", "SortOrders"), script("return 1")),
    ("variable-name", HEADER + "input_variables: {orderId: {type: string, description: d}}\ntasks: []", HEADER + "input_variables: {order_id: {type: string, description: d}}\ntasks: []"),
    ("vague-name", script("return 1").replace("sort_orders", "do_everything"), script("return 1").replace("sort_orders", "process_orders")),
    ("missing-header", script("return 1").replace("author: us\n", ""), script("return 1")),
    ("missing-description", script("return 1").replace("    description: Sorts\n", ""), script("return 1")),
    ("stale-changelog", script("return 1").replace("version: 1.0.0\n", "version: 1.1.0\n"), script("return 1")),
    ("useless-allow", script("return 1  # lint: allow monolith"), script("return 1")),
    ("useless-allow", script("return 1  # lint: allow raise-e"), script("return 1")),
]  # fmt: skip


def findings(text: str, folder: Path, name: str = "orders.yaml") -> list[Finding]:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return [each for loaded in load_path(file) for each in lint(loaded)]


def rules(text: str, folder: Path, name: str = "orders.yaml") -> list[str]:
    return [each.rule for each in findings(text, folder, name) if not each.allowed]


@pytest.mark.parametrize(("rule", "bad", "good"), CASES, ids=[f"{case[0]}-{n}" for n, case in enumerate(CASES)])
def test_a_rule_finds_what_it_is_about_and_nothing_else(rule: str, bad: str, good: str, tmp_path: Path) -> None:
    assert rule in rules(bad, tmp_path)
    assert rule not in rules(good, tmp_path)


def test_every_rule_has_a_case() -> None:
    in_folders = {"unchecked-input"}
    assert {case[0] for case in CASES} | in_folders == {rule.id for rule in RULES}


def test_a_production_pipeline_must_say_what_an_event_carries_and_who_answers_for_it(tmp_path: Path) -> None:
    text = script("return 1").replace("author: us\n", "")
    there = {each.rule: each.problem.severity for each in findings(text, tmp_path, "production/orders.yaml")}
    assert there["unchecked-input"] == there["missing-header"] == "warning"
    assert "unchecked-input" not in rules(text, tmp_path)


def test_a_good_pipeline_has_no_findings(tmp_path: Path) -> None:
    assert rules(script("return sorted(orders)"), tmp_path) == []


def test_a_finding_stands_at_its_line_in_the_file(tmp_path: Path) -> None:
    text = script('x = 1\nkey = "sk-1234567890abcdef"\nreturn x')
    (found,) = (each.problem for each in findings(text, tmp_path) if each.rule == "hard-coded-credential")
    line = text.split("\n")[found.line - 1]
    assert line[found.column - 1 :].startswith("sk-1234")


def test_a_credential_is_shown_nowhere_in_what_is_said(tmp_path: Path) -> None:
    secret, password = "sk-1234567890abcdef", "admin123"
    text = script(f'api_key = "{secret}"\npassword = "{password}"\nprint("{secret}")\nreturn "{secret}"')
    found = findings(text, tmp_path)
    assert {"hard-coded-credential", "secret-logged", "secret-returned"} <= {each.rule for each in found}
    for each in found:
        assert secret not in str(each)
        assert password not in str(each)


@pytest.mark.parametrize("holder", ["tasks", "then", "else", "fallback"])
def test_tasks_inside_tasks_are_looked_at_wherever_they_are(holder: str, tmp_path: Path) -> None:
    inner = {"name": "inner_task", "type": "python_task", "script": 'print(context.get_secret("k"))'}
    outer = {"name": "outer_task", "type": "for_loop", "description": "d", holder: [inner]}
    text = HEADER + yaml.safe_dump({"tasks": [outer]}, sort_keys=False)
    assert "secret-logged" in rules(text, tmp_path)


def test_order_is_not_asked_of_the_children_of_a_parallel_group(tmp_path: Path) -> None:
    child = {"type": "python_task", "description": "d", "script": "return 1"}
    tasks = [{"name": name, **child} for name in ("validate_a", "score_b")]
    group = {"name": "both", "type": "parallel_group", "description": "d", "tasks": tasks}
    assert "order-by-position" not in rules(HEADER + yaml.safe_dump({"tasks": [group]}, sort_keys=False), tmp_path)
    assert "order-by-position" in rules(HEADER + yaml.safe_dump({"tasks": tasks}, sort_keys=False), tmp_path)


def test_reading_a_child_of_a_group_is_reading_the_group(tmp_path: Path) -> None:
    child = {"name": "check_{{ item.index }}", "type": "python_task", "description": "d", "script": "return 1"}
    group = {"name": "validate_all", "type": "parallel_group", "description": "d", "tasks": [child]}
    report = {
        "name": "report_totals",
        "type": "python_task",
        "description": "d",
        "script": "return [context.get_task_output(f'check_{i}') for i in range(3)]",
    }
    text = HEADER + yaml.safe_dump({"tasks": [group, report]}, sort_keys=False)
    assert "order-by-position" not in rules(text, tmp_path)


def test_what_validate_says_is_said_here_too(tmp_path: Path) -> None:
    found = rules(script("return nobody_defines_me()"), tmp_path)
    assert "unknown-helper" in found
    assert "unknown-key" in rules(script("return 1") + "taks: []\n", tmp_path)
