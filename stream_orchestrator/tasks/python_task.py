"""`python_task`: a script, run in the sandbox."""

from __future__ import annotations

from stream_orchestrator.kernel.effects import Answer, ScriptDone
from stream_orchestrator.kernel.kinds import Attempt, Step
from stream_orchestrator.tasks.scripts import run_script, script_ended


class PythonTask:
    """Runs a Python script in a process of its own; `return`, or the last expression, is the output."""

    name = "python_task"
    summary = "Runs a Python script on the input and the outputs of earlier tasks."
    guarantees = (
        "At least once: a script runs again after a crash that came before its output was recorded, so use `run.id` as "
        "the idempotency key of what it does outside. Its output is recorded before it is used twice."
    )
    example = """\
name: "Word count"
tasks:
  - name: "count"
    type: "python_task"
    script: |
      words = "{{ text }}".split()
      return {"words": len(words)}
"""

    def begin(self, attempt: Attempt) -> Step:
        """Ask for the script."""
        return run_script(attempt, journal=True)

    def scripted(self, attempt: Attempt, done: ScriptDone) -> Step:
        """Its output is the task's."""
        return script_ended(attempt, done)

    def answered(self, attempt: Attempt, answer: Answer) -> Step:
        """A script's calls are answered through its journal; this is never asked of it."""
        raise AssertionError("a script has no call of its own")
