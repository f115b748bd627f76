"""Texts that want to be code: in YAML, Jinja, Python, a shell, SQL, HTML, a log."""

from __future__ import annotations

from pathlib import Path


def payloads(canary: Path) -> dict[str, str]:
    """The hostile texts, by name. Each would leave a trace if it ran: the file, or a call of the helper `canary`."""
    touch = f"touch {canary}"
    return {
        "quotes": 'it\'s "quoted" `back` \'\'\' """ «guillemets» “curly” ‘single’',
        "jinja value": "{{ 7*7 }} {{ canary('value') }} {{ x }}",
        "jinja raw": "{% raw %}{{ 7*7 }}{% endraw %}{# gone? #}{% set x = 1 %}",
        "jinja loop": "{% for i in range(9) %}{{ canary('loop') }}{% endfor %}",
        "jinja escape": "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os }}",
        "import os": f"__import__('os').system('{touch}')",
        "out of double quotes": '"); canary("double"); ("',
        "out of single quotes": "'); canary('single'); ('",
        "out of triple quotes": "\"\"\" + str(canary('triple')) + \"\"\" ''' + str(canary('triple')) + '''",
        "jndi and shell": f"${{jndi:ldap://127.0.0.1:9/a}} $({touch}) `{touch}`; {touch} | {touch} && {touch}",
        "new lines": "first\r\nsecond\n\ncanary('line')\n    return 'taken over'\n\traise SystemExit\n",
        "nul and controls": "before\x00after\x07\x08\x1b[31mred\x1b[0m\x7f\x00",
        "backslashes": '\\" \\\\n \\x41 \\u0041 \\N{BULLET} \\{{ x }} \\',
        "line separators": "a\u2028canary('sep')\u2029b\u0085c\x0bd\x0ce\x1cf",
        "format strings": "{0.__class__.__init__.__globals__} {canary} {!r} {} %s%n%(x)s %d %% $x ${x}",
        "f-string braces": "{canary('f')} {{canary('f')}} {x!r:>{9}} {x=} }{",
        "yaml tags": f"!!python/object/apply:os.system ['{touch}'] &a *a\n- x: y\n---\nname: z\n... # c",
        "comment marks": "# canary('c')\n// x\n/* x */ <!-- x --> -- x {# x #} #}",
        "very long": "A{{'%s\\" * 8_000,
        "right to left": "\u202eevil\u202c \u2066x\u2069 \u200b\ufeff\u00ad e\u0301 👩\u200d💻 \ud7ff\ue000\uffff",
        "json fragment": '"}],"admin":true,"answer":{"text":"x"},"specversion":"1.0","x":[{"y":"',
        "sql and html": "'; DROP TABLE runs;-- <script>canary('h')</script> <img src=x onerror=alert(1)> &lt;",
        "our own marks": "_b0_ __b__ _b_0_ __step__ :start :result \x00b0\x00",
        "python dunder": "__builtins__['exec']('canary(1)') or exit() or (lambda: canary(1))()",
    }
