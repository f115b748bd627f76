"""How long compiling takes: a pipeline of 200 tasks, and the largest one of the user's document where that is there.

    python -m bench.compile [TASKS]

Cold: what is cached by text is forgotten before each round, so a round is what a changed file costs once Python has
loaded us. Each round ends with the plan's bytes and hash. Milliseconds of this process, which waits for nothing: on a
quiet machine they are those of the clock. The median, and the slowest, of the rounds.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from stream_orchestrator.plan.codec import to_json
from stream_orchestrator.plan.compile import examine
from stream_orchestrator.spec.loader import load_bytes

ROUNDS = 9
TASKS = 200
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "conformance"))


def generated(count: int) -> bytes:
    """Scripts, prompts, conditions, fallbacks and groups, each task reading some of those before it."""
    tasks: list[dict[str, Any]] = []
    for number in range(count):
        before = [f"task_{earlier}" for earlier in range(max(0, number - 3), number)]
        tasks.append(_task(number, before))
    variables = {f"v{n}": {"type": "string", "default": "x", "validation": {"max_length": 50}} for n in range(20)}
    document = {"name": f"Generated {count}", "version": "1.0.0", "input_variables": variables, "tasks": tasks}
    return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False).encode()


def _task(number: int, before: list[str]) -> dict[str, Any]:
    name, read = f"task_{number}", "".join(f" {{{{ {each} }}}}" for each in before)
    body: dict[str, Any]
    match number % 4:
        case 0:
            lines = [f"    total += len(str({each}))" for each in before]
            script = "\n".join([f"total = {number}", "for _ in range(3):", "    total += 1", *lines, "return total"])
            body = {"type": "python_task", "script": script + "\n"}
        case 1:
            body = {"type": "llm_task", "model": "offline/echo", "prompt": f"Say {{{{ v{number % 20} }}}} of{read}"}
        case 2:
            fallback = {"name": f"{name}_plan_b", "type": "python_task", "script": "return 0"}
            prompt = f"{{% if v1 == 'x' %}}short{{% else %}}long{{% endif %}}{read}"
            body = {"type": "llm_task", "model": "offline/echo", "prompt": prompt}
            body["error_handling"] = {"retry_count": 2, "fallback": [fallback]}
        case _:
            inner = {
                "name": "each",
                "type": "python_task",
                "script": "return item['index']\n",
                "for_each": "{{ [1, 2] }}",
            }
            body = {"type": "parallel_group", "depends_on": before[-1:], "tasks": [inner], "condition": "v2 != ''"}
    return {"name": name, **body}


def forget() -> None:
    """Empty every cache of ours."""
    for name, module in list(sys.modules.items()):
        if name.startswith("stream_orchestrator."):
            for thing in list(vars(module).values()):
                if callable(getattr(thing, "cache_clear", None)) and thing.__module__ == name:
                    thing.cache_clear()


def milliseconds(raw: bytes, file: str) -> list[float]:
    """How long each round took."""
    found = []
    for _ in range(ROUNDS):
        forget()
        started = time.process_time()
        for located in load_bytes(raw, file=file):
            plan, _ = examine(located)
            if plan is not None:
                to_json(plan)
        found.append((time.process_time() - started) * 1000)
    return found


def show(what: str, raw: bytes, times: list[float]) -> None:
    print(f"{what:60} {len(raw):8,} bytes {statistics.median(times):8.1f} {max(times):8.1f}", flush=True)


def largest() -> tuple[str, bytes, list[float]] | None:
    """The document's pipeline that takes longest. It is read where `tests/conformance` says it is."""
    from blocks import files, is_there

    if not is_there():
        return None
    shown = [file for file in files() if re.search(r"^tasks:", file.text, re.MULTILINE)]
    alone = [file for file in shown if "component:" not in file.text]  # the others need a file beside them
    timed = [(file.path, file.text.encode(), milliseconds(file.text.encode(), file.path)) for file in alone]
    return max(timed, key=lambda each: statistics.median(each[2]))


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else TASKS
    print(f"{'cold, ' + str(ROUNDS) + ' rounds':60} {'':14} {'median':>8} {'slowest':>8}  ms")
    raw = generated(count)
    milliseconds(raw, "warm-up.yaml")
    show(f"{count} tasks, generated", raw, milliseconds(raw, "generated.yaml"))
    found = largest()
    if found is None:
        print("the user's document is not there; see `make conformance`")
        return 0
    show(f"the document's slowest: {found[0]}", found[1], found[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
