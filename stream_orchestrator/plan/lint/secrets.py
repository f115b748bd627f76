"""Rules about credentials: written into documents, returned, logged, handed on, hashed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stream_orchestrator.errors import OrchestratorError
from stream_orchestrator.plan import templates
from stream_orchestrator.plan.lint.credentials import Credential, credentials_in, credentials_of, is_secret_name
from stream_orchestrator.plan.lint.flow import Use
from stream_orchestrator.plan.lint.model import Finding, Rule, ScriptView, Subject
from stream_orchestrator.spec.located import Path

HARD_CODED = Rule(
    id="hard-coded-credential",
    severity="error",
    summary="a key, password or token is written in the document",
    why="whoever can read the file, its history or a copy of the plan has the credential",
    instead="use `context.get_secret(name)` or `os.getenv(NAME)`, and change the credential: it has been seen",
)
RANDOM = Rule(
    id="high-entropy-text",
    severity="warning",
    summary="a text looks random, as keys do",
    why="it may be a credential of a kind that has no known shape",
    instead="if it is a credential, use `context.get_secret(name)`; if not, write `# lint: allow high-entropy-text`",
)
RETURNED = Rule(
    id="secret-returned",
    severity="error",
    summary="a secret is part of a task's output",
    why="outputs go to topics, results and other tasks as they are; nothing masks them",
    instead="return what was done with the secret, or `context.fingerprint(value)` to recognise it",
)
LOGGED = Rule(
    id="secret-logged",
    severity="error",
    summary="a secret is printed, logged, reported or put into an error's message",
    why="values from `get_secret` and the environment are masked, parts of them and computed ones are not",
    instead="log that it happened, without the value; `context.fingerprint(value)` tells two of them apart",
)
HANDED_ON = Rule(
    id="secret-handed-on",
    severity="error",
    summary="a secret goes to a model, a cache or shared state",
    why="there it is kept or read by others, outside of your reach",
    instead="ask for the secret where it is needed: `context.get_secret(name)`",
)
HASHED = Rule(
    id="hash-of-secret",
    severity="warning",
    summary="a secret is hashed without a key",
    why="`hash()` differs in every process, and whoever guesses the secret can check the guess against any plain hash",
    instead="use `context.fingerprint(value)`: keyed, and the same on every worker",
)
RULES = (HARD_CODED, RANDOM, RETURNED, LOGGED, HANDED_ON, HASHED)

_FREE_KEYS = frozenset(("tests", "mocks", "test_scenarios"))  # made-up data: only known shapes count there
_LOGS = ("logger.", "logging.", "log.", "context.log_")
_REPORTS = frozenset(
    ("print", "pprint", "pprint.pprint", "sys.stdout.write", "sys.stderr.write", "warnings.warn", "context.send_alert")
) | frozenset(("context.record_metric", "context.update_progress"))
_KEEPERS = ("context.set_", "process_with_llm")


def check(subject: Subject) -> Iterator[Finding]:
    """All findings of these rules."""
    yield from _written(subject, subject.located.data, (), "", named=True)
    for script in subject.scripts():
        yield from _in_script(subject, script)
        yield from _flows(subject, script)
    yield from _in_prompts(subject)


def _written(subject: Subject, value: Any, path: Path, name: str, *, named: bool) -> Iterator[Finding]:
    """Credentials in any text of the document that is no script."""
    if isinstance(value, dict):
        for key, child in value.items():
            if not (key == "script" and isinstance(child, str)):
                called = path[-1] if key in ("default", "example", "value") and path else key
                free = named and key not in _FREE_KEYS
                yield from _written(subject, child, (*path, key), str(called), named=free)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _written(subject, child, (*path, index), name, named=named)
    elif isinstance(value, str):
        for found in credentials_in(value, name if named else ""):
            if found.sure or named:
                line = value[: value.find(found.value)].count("\n") + 1
                column = value.find(found.value) - (value.rfind("\n", 0, value.find(found.value)) + 1)
                mark = subject.located.inside(path, line, column=column + 1, width=len(found.value))
                yield subject.find(_rule(found), _said(found), path, mark=mark)


def _in_script(subject: Subject, script: ScriptView) -> Iterator[Finding]:
    seen = set[tuple[str, int]]()
    for tree in script.trees:
        for found, line in credentials_of(tree.body):
            place = (found.value, tree.line(line))
            if place not in seen:
                seen.add(place)
                yield subject.find_in_script(_rule(found), _said(found), script, place[1], found.value.split("\n")[0])
    known = {value for value, _ in seen}
    for number, text in enumerate(script.text.split("\n"), 1):
        if "#" in text:  # what is commented out is written down, too
            for found in credentials_in(text.partition("#")[2]):
                if found.sure and found.value not in known:
                    yield subject.find_in_script(HARD_CODED, _said(found), script, number, found.value)


def _rule(found: Credential) -> Rule:
    return HARD_CODED if found.sure else RANDOM


def _said(found: Credential) -> str:
    if not found.sure:
        return f"`{found.beginning}` ({len(found.value)} characters) looks like a credential"
    return f"{found.what} is written here: `{found.beginning}`"


def _flows(subject: Subject, script: ScriptView) -> Iterator[Finding]:
    seen = set[tuple[str, int]]()
    for use, line in script.uses():
        for rule, message in _judged(use):
            if (rule.id, line) not in seen:
                seen.add((rule.id, line))
                yield subject.find_in_script(rule, message, script, line)


def _judged(use: Use) -> Iterator[tuple[Rule, str]]:
    place = _place(use)
    if "secret" in use.labels:
        if place is not None:
            yield place
        if use.callee == "hash":
            yield HASHED, "a secret is hashed by `hash()`"
    elif "digest" in use.labels and place is not None and use.callee != "hash":
        yield HASHED, f"a hash of a secret is {_WORDS[place[0].id]}"


_WORDS = {RETURNED.id: "returned", LOGGED.id: "logged", HANDED_ON.id: "handed on"}


def _place(use: Use) -> tuple[Rule, str] | None:
    """The way out that a use is, if it is one."""
    if use.kind == "return":
        return RETURNED, "a secret is part of what this task returns"
    if use.kind == "raise":
        return LOGGED, "a secret is part of an error, whose message is logged and sent"
    if use.kind == "call" and (use.callee in _REPORTS or use.callee.startswith(_LOGS)):
        return LOGGED, f"a secret goes to `{use.callee}`"
    if use.kind == "call" and use.callee.startswith(_KEEPERS):
        return HANDED_ON, f"a secret goes to `{use.callee}`"
    return None


def _in_prompts(subject: Subject) -> Iterator[Finding]:
    """`{{ env.API_KEY }}` in what a model reads."""
    for task in subject.tasks:
        for key in ("prompt", "system", "system_message"):
            text = task.data.get(key)
            for name in _secret_env(text) if isinstance(text, str) else ():
                message = f"`env.{name}` goes to a model"
                yield subject.find(HANDED_ON, message, (*task.path, key))


def _secret_env(text: str) -> Iterator[str]:
    try:
        references = templates.references(text)
    except OrchestratorError:
        return
    yield from sorted(key for holder, key in references if holder == "env" and key and is_secret_name(key))
