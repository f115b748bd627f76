from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
import traceback
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_orchestrator.plan.scripts import HEADER, Script, ScriptProblem
from stream_orchestrator.plan.templates import SKIPPED, SkippedReference, TemplateFault, TemplateProblem


def run(text: str, /, **scope: Any) -> Any:
    """What a script gives, run as the sandbox does: names as globals, values in a mapping."""
    prepared = Script.parse(text).prepare(scope)
    names = {name: scope[name] for name in prepared.names}
    exec(compile(prepared.source, "<script>", "exec"), names)
    given = names["__step__"](prepared.bindings)
    return asyncio.run(given) if inspect.iscoroutine(given) else given


HOSTILE = (
    '"); __import__("os").system("touch /tmp/owned") #',
    "'; raise SystemExit; '",
    '""" + open("/etc/passwd").read() + """',
    "{{ secret }} {% for x in y %}",
    "{secret} {0} %s %(a)s",
    "\\\" \\' \\n \\x41 \\N{DASH} \\",
    "a\nb\r\nc\rd\te\0f",
    "\u2028\u2029\x85\x0b\x0c\x1c",
    "\ud800 lone",
    "ünïcödé 数据 🎉",
    "return 1\nimport os",
    "# comment",
    "__b__['t0'] __step__ _b0_ b0 v0",
)
POSITIONS = {
    "value": "return {{ x }}",
    "last": "{{ x }}",
    "double": 'return "{{ x }}"',
    "single": "return '{{ x }}'",
    "triple": 'return """{{ x }}"""',
    "raw": 'return r"{{ x }}"',
    "f-string": 'k = 1\nreturn f"{{ x }}{k}"[:-1]',
    "f-string value": "return f'{ {{ x }} }'",
    "nested f-string": "d = {'a': 1}\nreturn f'{f\"{{ x }}\"}{d[\"a\"]}'[:-1]",
    "bytes": 'return b"{{ x }}".decode()',
    "joined": 'return ("" "{{ x }}"\n  f"" "")',
    "docstring": '"""{{ x }}"""',
    "argument": 'def f(v, w="{{ x }}"):\n    return w\nreturn f(1)',
    "key": 'return list({"{{ x }}": {{ x }}}.items())[0][0]',
    "comprehension": 'return [v for v in ["{{ x }}"]][0]',
    "loop": 'for _ in [1]:\n    if True:\n        found = "{{ x }}"\nfound',
    "class": "class A:\n    v = {{ x }}\nreturn A.v",
    "lambda": 'return (lambda: "{{ x }}")()',
    "branch": '{% if x is string %}\nreturn "{{ x }}"\n{% endif %}',
    "repeat": '{% for y in [x] %}\nfound = "{{ y }}"\n{% endfor %}\nreturn found',
    "condition": '{% if x == "" %}\nreturn ""\n{% else %}\nreturn {{ x }}\n{% endif %}',
    "two": 'a = "{{ x }}"; return "{{ x }}"',
    "indented": '    y = "{{ x }}"\n    return y',
}


@pytest.mark.parametrize("script", POSITIONS.values(), ids=POSITIONS.keys())
@pytest.mark.parametrize("payload", HOSTILE)
def test_a_hostile_value_comes_back_as_data_wherever_it_stands(script, payload):
    if script == POSITIONS["bytes"]:
        payload = payload.replace("\ud800", "")  # a lone surrogate has no bytes
    assert run(script, x=payload, secret="s") == payload


@pytest.mark.parametrize("script", POSITIONS.values(), ids=POSITIONS.keys())
@given(payload=st.text())
def test_any_text_comes_back_as_it_was_wherever_it_stands(script, payload):
    assert run(script, x=payload) == payload


@given(st.text(), st.text())
def test_the_source_does_not_depend_on_values(one, other):
    script = Script.parse('a = "<{{ x }}>"\nreturn f"{a}{{ x }}", {{ x }}')
    first, second = script.prepare({"x": one}), script.prepare({"x": other})
    assert (first.source, first.digest) == (second.source, second.digest)


def test_the_source_is_the_same_in_every_process():
    code = (
        "from stream_orchestrator.plan.scripts import Script; "
        "print(Script.parse('# {{ x }}\\na = \"<{{ x }}>\"; {{ x }}').prepare({'x': 1}).digest)"
    )
    digests = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("script", "value"),
    [
        ("return {{ d }}", {"k": [1, None]}),
        ("{{ d }}['k'][0]", 1),
        ("'{{ d }} {{ t }} {{ n }} {{ none }}'", '{"k": [1, null]} true 3 null'),
        ("f'{n:>{{ n }}}|{n!r}'", "  3|3"),
        ("b'{{ d }}'", b'{"k": [1, null]}'),
        ("if {{ t }}:\n    return 'yes'", "yes"),
        ("not {{ t }}", False),
        ("[{{ n }}, *{{ d }}['k']]", [3, 1, None]),
        ("x = '''\n  {{ n }}\n keep\n'''\nreturn x", "\n  3\n keep\n"),
        ("'é{{ n }}' + 'ü{{ n }}'; '{{ n }}'", "3"),
        ("r'\\d{{ n }}'", "\\d3"),
    ],
)
def test_a_value_alone_keeps_its_type_and_in_a_literal_is_text(script, value):
    assert run(script, d={"k": [1, None]}, t=True, n=3) == value


@pytest.mark.parametrize(
    ("script", "value"),
    [
        ("return 1", 1),
        ("1 + 1", 2),
        ("x = 1", None),
        ("", None),
        ("# nothing", None),
        ("if True:\n    return 1\n2", 1),
        ("if False:\n    return 1\n2", 2),
        ("   y = 1\nreturn y", 1),
        ("\n\n    y = 1\n    return y", 1),
        ("\t# c\n\ty = 1\n\treturn y", 1),
        ("import asyncio\nawait asyncio.sleep(0)\nreturn 4", 4),
        ("async def f():\n    return 5\nreturn await f()", 5),
        ("async def g():\n    yield 6\n[i async for i in g()]", [6]),
        ("def f(n):\n    return 1 if n < 2 else n * f(n - 1)\nf(5)", 120),
        ("x = 1; x + 1", 2),
        ("x = 1\r\nreturn x", 1),
        ("a = (\n  1,\n  2,\n)\na", (1, 2)),
        ("x = 5\n{\n  'a': x\n}", {"a": 5}),
    ],
)
def test_a_script_is_a_function_body_whose_last_expression_counts(script, value):
    assert run(script) == value


def test_a_name_from_outside_can_be_read_before_it_is_assigned():
    assert run("text = text.strip()\nreturn text", text=" a ") == "a"
    assert run("n += 1\nn", n=1) == 2
    assert run("if n > 5:\n    n = 5\nreturn n", n=3) == 3
    assert run("def f():\n    return n\nn = n + 1\nreturn f()", n=1) == 2


def test_lines_are_chosen_by_if_and_repeated_by_for_with_real_values():
    script = (
        "r = []\n{% for x in xs %}\n{% if x.ok and loop.index < 3 %}\n"
        "r.append(({{ x }}['n'], {{ loop.index }}))\n{% endif %}\n{% endfor %}\nr"
    )
    assert run(script, xs=[{"ok": True, "n": 1}, {"ok": False, "n": 2}, {"ok": True, "n": 3}]) == [(1, 1)]


# where a value cannot stand


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("x{{ x }} = 1", 1),
        ("\n{{ x }} = 1", 2),
        ("del {{ x }}", 1),
        ("f({{ x }}=1)", 1),
        ("1\nx.{{ x }}", 2),
        ("def {{ x }}(): pass", 1),
        ("class {{ x }}: pass", 1),
        ("import {{ x }}", 1),
        ("from {{ x }} import y", 1),
        ("global {{ x }}", 1),
        ("for {{ x }} in y: pass", 1),
        ("lambda {{ x }}: 1", 1),
        ("[1 for {{ x }} in y]", 1),
        ("match x:\n  case '{{ x }}': pass", 2),
        ("match x:\n  case {{ x }}: pass", 2),
        ("match x:\n  case {'{{ x }}': 1}: pass", 2),
        ("{{ x }}{{ x }}", 1),
        ("1{{ x }}", 1),
        ("a = (\n\n'abc'{{ x }})", 3),
        ("return{{ x }}", 1),
        ("'\\x{{ x }}'", 1),
        ("f'{a.{{ x }}}'", 1),
        ("with a as {{ x }}: pass", 1),
        ("try: pass\nexcept E as {{ x }}: pass", 2),
    ],
)
def test_a_template_glued_to_code_is_refused_with_its_line(script, line):
    with pytest.raises(ScriptProblem, match="template") as caught:
        Script.parse(script)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("return (", 1),
        ("x = 1\n  y = 2", 2),
        ("\n\nbreak", 3),
        ("from x import *", 1),
        ("yield 1", 1),
        ("x = __b__", 1),
        ("x\0", 1),
        ("a = 1\n{% if x %}\nb = (\n{% endif %}\nc", 3),
        ("a\n{% if x %}\nb\n{% elif y %}\nc\n{% else %}\nb\nc c\n{% endif %}", 8),
        ("{% for x in y %}\n\nfor\n{% endfor %}", 3),
        ("nonlocal x", 1),
        ("if x:\n\ty = 1\n        z = 2", 3),
    ],
)
def test_a_broken_script_is_a_problem_with_its_line(script, line):
    with pytest.raises(ScriptProblem) as caught:
        Script.parse(script)
    assert caught.value.line == line
    assert not re.search(r"_b[0-9a-f]{8}", str(caught.value)), "a mark is ours, and says nothing to a user"


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("\n{{ x", 2),
        ("a\n{% if %}", 2),
        ("\n\n{{ x | nofilter }}", 3),
        ("{% macro f() %}{% endmacro %}", 1),
        ("\n{% set x %}code{% endset %}", 2),
        ("{% filter upper %}x{% endfilter %}", 1),
        ("{% include 'x' %}", 1),
    ],
)
def test_a_broken_template_in_a_script_is_a_problem_with_its_line(script, line):
    with pytest.raises(TemplateProblem) as caught:
        Script.parse(script)
    assert caught.value.line == line


def test_a_rendering_that_is_not_python_is_a_fault_of_the_run_with_its_line():
    script = Script.parse("def f():\n{% for x in xs %}\n  y = {{ x }}\n{% endfor %}\nf()")
    with pytest.raises(TemplateFault, match="line 5"):
        script.prepare({"xs": []})


def test_unknown_and_skipped_names_are_as_in_every_template():
    with pytest.raises(TemplateFault):
        Script.parse("return {{ nope }}").prepare({})
    with pytest.raises(SkippedReference):
        Script.parse("return '{{ s }}'").prepare({"s": SKIPPED})
    assert run("return {{ s | default('d', true) }}", s=SKIPPED) == "d"


# lines


def failing_line(text: str, **scope: Any) -> int:
    prepared = Script.parse(text).prepare(scope)
    names: dict[str, Any] = {name: scope[name] for name in prepared.names}
    exec(compile(prepared.source, "<script>", "exec"), names)
    with pytest.raises(ZeroDivisionError) as caught:
        names["__step__"](prepared.bindings)
    number = traceback.extract_tb(caught.value.__traceback__)[-1].lineno
    assert number is not None
    if "__lines__" in names:
        assert names["__lines__"] == prepared.lines
    else:
        assert prepared.lines[number - 1] == max(number - HEADER, 1)
    return prepared.lines[number - 1]


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("1/0", 1),
        ("x = 1\n\n# c\n1/0", 4),
        ("x = '''\n{{ n }}\n'''\n1/0", 4),
        ("x = ('a'\n 'b{{ n }}'\n 'c')\n1/0", 4),
        ("    x = 1\n    1/0", 2),
        ("{% if n %}\nx = 1\n{% else %}\nx = 2\nx = 3\n{% endif %}\n1/0", 7),
        ("{% if not n %}\nx = 1\nx = 3\n{% else %}\nx = 2\n1/0\n{% endif %}", 6),
        ("{% for i in [1, 2, 3] %}\nx = {{ i }}\n{% endfor %}\n\n1/0", 5),
        ("{% for i in [1, 0] %}\nx = 1\ny = 1/{{ i }}\n{% endfor %}", 3),
        ("{% set z = 1 %}x = {{ z }}\n{# a\nb #}\n1/0", 4),
    ],
)
def test_the_line_of_an_error_is_a_line_of_the_script(script, line):
    assert failing_line(script, n=1) == line


# what a script reads


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("text = text.strip()", {"text"}),
        ("for i in xs:\n  y = i\n[a for a in ys if a > k] + [y]", {"xs", "ys", "k"}),
        ("def f(a, b=d, *c, e, **g):\n  z = a\n  return z + q + b + c + e + g", {"d", "q"}),
        ("try:\n  import json as j\nexcept E as e:\n  raise e\nj.dumps(v)", {"E", "v"}),
        ("n += 1", {"n"}),
        ("match v:\n  case {'a': q, **r}: return q, r\n  case [1, *s]: return s", {"v"}),
        ("class A(B):\n  z = w\n  def m(self): return z", {"B", "w", "z"}),
        ("print((y := 5), y)", set()),
        ("[y := 1 for _ in a]\ny", {"a"}),
        ("with open(p) as f, g as (h, i): f.read(h, i)", {"p", "g"}),
        ("x: T = 3\ny: U\nx", {"T", "U"}),
        ("[b for a in c for b in a]", {"c"}),
        ("later()\ndef later(): pass", {"later"}),
        ("def f(): return later\nlater = 1\nf()", set()),
        ("async with s as t:\n  await t", {"s"}),
        ("{k: v for k, v in d.items()}", {"d"}),
        ("lambda q: q + w", {"w"}),
        ("x = 1\ndef f():\n  nonlocal x\n  x = y\nf()", {"y"}),
        ("@deco\ndef f(): pass", {"deco"}),
        ("f'{a:{b}}'", {"a", "b"}),
        ("from os.path import join\njoin(a)", {"a"}),
        ("{{ t }} + b", {"b"}),
        ("{% if t %}\na\n{% else %}\nb\n{% endif %}", {"a", "b"}),
        ("len(str(1)); id", {"id"}),
    ],
)
def test_free_names_are_those_that_are_read_and_not_bound(script, names):
    assert Script.parse(script).free_names == names


def test_names_that_are_only_called_are_told_apart():
    script = Script.parse("helper(left['n'])\nmap(other, xs)\nother(1)")
    assert script.called_names == {"helper"}
    assert script.free_names == {"helper", "left", "other", "xs"}


def test_outputs_asked_of_the_context_are_literal_or_patterns():
    script = Script.parse(
        "get = context.get_task_output\ncontext.get_task_output('a')\ncontext.get_task_output('b' 'c', None)\n"
        "context.get_task_output(f'chunk_{i}')\ncontext.get_task_output('part-' + str(i))\n"
        "context.get_task_output('p%d.q' % i)\ncontext.get_task_output('{}_z'.format(i))\n"
        "context.get_task_output('x{{ n }}y')\ntasks['t u']\ntasks.get('v')"
    )
    assert script.task_outputs == {"a", "bc", "t u", "v"}
    assert script.dynamic_task_outputs == {"chunk_.*", r"part\-.*", r"p.*\.q", ".*_z", "x.*y"}
    assert Script.parse("context.get_task_output(name)").dynamic_task_outputs == {".*"}
    assert Script.parse("for t in tasks: pass").dynamic_task_outputs == {".*"}


def test_environment_variables_are_those_named_literally():
    script = Script.parse(
        "import os\nfrom os import environ, getenv\nos.getenv('A'); os.environ['B']; os.environ.get('C', 1)\n"
        "getenv('D'); environ['E']; os.getenv(name); d.get('F')"
    )
    assert script.env_names == {"A", "B", "C", "D", "E"}


@pytest.mark.parametrize(
    ("script", "network"),
    [
        ("import requests", True),
        ("import urllib.request as r", True),
        ("from urllib import request", True),
        ("from http.client import HTTPConnection", True),
        ("def f():\n  import socket", True),
        ("__import__('httpx')", True),
        ("import importlib\nimportlib.import_module('aiohttp')", True),
        ("{% if x %}\nimport websockets\n{% endif %}", True),
        ("from urllib.parse import quote", False),
        ("import json, http", False),
        ("import requestslike", False),
    ],
)
def test_importing_a_network_library_is_seen(script, network):
    assert Script.parse(script).uses_network is network


def test_models_asked_by_a_script_are_seen():
    script = Script.parse("process_with_llm('x')\nprocess_with_llm('x', 'm1')\nprocess_with_llm('x', model='m2')")
    assert script.models == {None, "m1", "m2"}
    assert Script.parse("process_with_llm('x', model=m)").models == {".*"}


def test_a_script_is_parsed_once_and_each_shape_is_compiled_once():
    assert Script.parse("return {{ a }}") is Script.parse("return {{ a }}")
    script = Script.parse("{% for x in xs %}\ny = {{ x }}\n{% endfor %}")
    assert script.prepare({"xs": [1, 2]}).source is script.prepare({"xs": [3, 4]}).source
    assert script.prepare({"xs": [1]}).digest != script.prepare({"xs": [1, 2]}).digest


@example(["a", "b"])
@given(st.lists(st.text(), max_size=5))
def test_a_loop_binds_each_of_its_values_by_itself(values):
    assert run("r = []\n{% for v in vs %}\nr.append(({{ v }}, '{{ v }}'))\n{% endfor %}\nr", vs=values) == [
        (value, value) for value in values
    ]
