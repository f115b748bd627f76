"""Writes `docs/rules.md`, the list of every rule, from the rules themselves. Run it after changing one:

python docs/rules.py
"""

from __future__ import annotations

from pathlib import Path

from stream_orchestrator.plan.lint import RULES, Rule

PAGE = Path(__file__).with_name("rules.md")
HEAD = """# Rules of `lint`
Made by `docs/rules.py`. `stream-orchestrator lint` says all that `validate` says, and what these rules find.
`validate` alone decides whether a document compiles.

An **error** makes the exit code 1; with `--strict` a **warning** does, too; **info** never does. Where it is marked,
`--fix` mends the text in place. A comment silences a rule: at the end of the line, in lines of comments above it, or
above the first key for the whole document. Warnings of `validate` can be allowed as well, its errors cannot.

```yaml
name: Allowed
tasks:
  - name: Fetch  # lint: allow task-name
    type: python_task
    script: return 1
```

`--format sarif` writes SARIF 2.1.0 for code hosts; `--format json` has the shape of `validate --json`.

| rule | severity | finds |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = "".join(f"| [`{rule.id}`](#{rule.id}) | {rule.severity} | {rule.summary} |\n" for rule in RULES)
    return HEAD + rows + "".join(map(_section, RULES))


def _section(rule: Rule) -> str:
    fixed = "\n- `--fix` does it" if rule.fixable else ""
    return f"\n## {rule.id}\n- finds: {rule.summary}\n- why: {rule.why}\n- instead: {rule.instead}{fixed}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
