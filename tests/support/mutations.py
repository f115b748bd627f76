"""Mistakes, by name. `SEMANTIC` ones are what people get wrong in a pipeline; `STRUCTURAL` ones damage the text; `TREE`
ones change the values of any document, and know nothing of what they mean.

A semantic or tree operator changes a parsed document in place and says whether it could; a structural one gives new
bytes.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

Data = dict[str, Any]
Semantic = Callable[[Data, random.Random], bool]
Structural = Callable[[str, random.Random], bytes]

SEMANTIC: dict[str, Semantic] = {}
STRUCTURAL: dict[str, Structural] = {}
TREE: dict[str, Semantic] = {}


def semantic(operator: Semantic) -> Semantic:
    SEMANTIC[operator.__name__] = operator
    return operator


def structural(operator: Structural) -> Structural:
    STRUCTURAL[operator.__name__] = operator
    return operator


def tree(operator: Semantic) -> Semantic:
    TREE[operator.__name__] = operator
    return operator


def misspelt(word: str, dice: random.Random) -> str:
    """A slip of the finger: a letter left out, doubled, or two changed over. Never the word itself."""
    while True:
        at = dice.randrange(len(word))
        kind = dice.randrange(3)
        if kind == 0:
            slip = word[:at] + word[at + 1 :]
        elif kind == 1:
            slip = word[: at + 1] + word[at:]
        else:
            slip = word[:at] + word[at : at + 2][::-1] + word[at + 2 :]
        if slip not in {word, ""}:
            return slip


# --- semantic --------------------------------------------------------------------------------------------------------


@semantic
def renamed_dependency(data: Data, dice: random.Random) -> bool:
    holders = [task for task in data["tasks"] if isinstance(task.get("depends_on"), list)]
    if not holders:
        return False
    names = dice.choice(holders)["depends_on"]
    at = dice.randrange(len(names))
    names[at] = dice.choice((misspelt(names[at], dice), f"{names[at]}_v2", "preparation"))
    return True


@semantic
def renamed_task_referenced_elsewhere(data: Data, dice: random.Random) -> bool:
    read = [
        task
        for task in data["tasks"]
        if any(_reads(other, task["name"]) for other in data["tasks"] if other is not task)
    ]
    task = dice.choice(read)
    task["name"] = dice.choice((misspelt(task["name"], dice), f"{task['name']}_v2", "zebra"))
    return True


@semantic
def misspelt_key(data: Data, dice: random.Random) -> bool:
    places = list(_maps_of_ours(data))
    holder = dice.choice(places)
    key = dice.choice([each for each in holder if len(each) > 2])
    _rename(holder, key, misspelt(key, dice))
    return True


@semantic
def wrong_type_of_retry_count(data: Data, dice: random.Random) -> bool:
    dice.choice(data["tasks"]).setdefault("error_handling", {})["retry_count"] = dice.choice(
        ("three", "2 times", 2.5, -1, True, [3], {"count": 3}, 10**9)
    )
    return True


@semantic
def unknown_task_type(data: Data, dice: random.Random) -> bool:
    task = dice.choice(data["tasks"])
    task["type"] = dice.choice((misspelt(task["type"], dice), "python", "llm", "shell_task", "", 3))
    return True


@semantic
def negative_timeout(data: Data, dice: random.Random) -> bool:
    dice.choice((data, *data["tasks"]))["timeout"] = dice.choice((-5, "-5 seconds", 0, "-1 minute", "0 seconds"))
    return True


@semantic
def cycle_introduced(data: Data, dice: random.Random) -> bool:
    pairs = [
        (first, later)
        for first in data["tasks"]
        for later in data["tasks"]
        if first is not later and _reads(later, first["name"])
    ]
    first, later = dice.choice(pairs)
    _depend(first, later["name"])
    return True


@semantic
def self_dependency(data: Data, dice: random.Random) -> bool:
    task = dice.choice(data["tasks"])
    _depend(task, task["name"])
    return True


@semantic
def duplicate_task_name(data: Data, dice: random.Random) -> bool:
    one, other = dice.sample(data["tasks"], 2)
    other["name"] = one["name"]
    return True


@semantic
def unknown_variable_in_prompt(data: Data, dice: random.Random) -> bool:
    prompts = [(task, key) for task in data["tasks"] for key in ("prompt", "system") if key in task]
    if not prompts:
        return False
    task, key = dice.choice(prompts)
    named = re.findall(r"\{\{\s*([A-Za-z_]\w*)", task[key])
    if named and dice.random() < 0.6:
        name = dice.choice(named)
        task[key] = re.sub(rf"(\{{\{{\s*){name}\b", rf"\g<1>{misspelt(name, dice)}", task[key], count=1)
    else:
        task[key] += dice.choice((" {{ customer_tier }}", " {{ env_name | upper }}", " {% if premium %}x{% endif %}"))
    return True


@semantic
def bad_regex(data: Data, dice: random.Random) -> bool:
    texts = [
        rule for rule in data["input_variables"].values() if rule.get("type") == "string" and "options" not in rule
    ]
    bad = dice.choice(("[a-z", "(abc", "*a", "a{3,1}", "(?P<x>a", "[z-a]", "a**", "\\"))
    rule = dice.choice(texts)
    rule["validation"] = bad if dice.random() < 0.5 else {"regex": bad}
    rule.pop("default", None)
    return True


@semantic
def default_violating_its_validation(data: Data, dice: random.Random) -> bool:
    options = []
    for rule in data["input_variables"].values():
        asks = rule.get("validation")
        if isinstance(asks, str):
            options.append((rule, "??"))
        elif isinstance(asks, dict):
            options += [(rule, "x" * (asks["max_length"] + 1))] if "max_length" in asks else []
            options += [(rule, "")] if asks.get("min_length") else []
            options += [(rule, asks["minimum"] - 1)] if "minimum" in asks else []
            options += [(rule, [])] if asks.get("min_items") else []
        options.append((rule, {"string": 7, "integer": "7", "boolean": "true"}.get(rule["type"], "wrong")))
    rule, default = dice.choice(options)
    rule["default"] = default
    return True


@semantic
def default_not_among_the_options(data: Data, dice: random.Random) -> bool:
    rules = [rule for rule in data["input_variables"].values() if "options" in rule]
    if not rules:
        return False
    rule = dice.choice(rules)
    rule["default"] = dice.choice((misspelt(rule["options"][0], dice), "other", str(rule["options"][0]).swapcase()))
    return True


@semantic
def version_not_semver(data: Data, dice: random.Random) -> bool:
    data["version"] = dice.choice(("1.0", "v1.0.0", "latest", 1.0, 2, "1.0.0.0", "01.0.0", "", "1.x"))
    return True


@semantic
def broken_template(data: Data, dice: random.Random) -> bool:
    places = [(task, key) for task in data["tasks"] for key in ("prompt", "condition", "system") if key in task]
    if isinstance(data.get("output"), str):
        places.append((data, "output"))
    if not places:
        return False
    holder, key = dice.choice(places)
    breaks = (
        "{{ ",
        "{{ a b }}",
        "{% if x %}",
        "{% endfor %}",
        "{{ x | nosuchfilter }}",
        "{{ 'x }}",
        "{{ (1 }}",
        "{{ }}",
    )
    holder[key] += dice.choice(breaks)
    return True


@semantic
def broken_python(data: Data, dice: random.Random) -> bool:
    scripts = [task for task in data["tasks"] if "script" in task]
    if not scripts:
        return False
    task = dice.choice(scripts)
    lines = task["script"].rstrip("\n").split("\n")
    at = dice.randrange(len(lines))
    match dice.randrange(4):
        case 0:
            lines[at] += " ("
        case 1:
            lines.insert(at, "for each in")
        case 2:
            lines.append("    return 1" if not lines[-1].startswith(" ") else "return 'x")
        case _:
            lines.insert(0, "if True")
    task["script"] = "\n".join(lines) + "\n"
    return True


@semantic
def unit_typo_in_duration(data: Data, dice: random.Random) -> bool:
    bad = dice.choice(("30 secnods", "5 minits", "1 hor", "30 s econds", "ten seconds", "5 parsecs", "30 seconds!"))
    if dice.random() < 0.7:
        dice.choice((data, *data["tasks"]))["timeout"] = bad
    else:
        dice.choice(data["tasks"]).setdefault("error_handling", {})["retry_delay"] = bad
    return True


@semantic
def unknown_on_failure(data: Data, dice: random.Random) -> bool:
    value = dice.choice(("abort", "ignore", "retry", "Skip", "continue ", "stop_pipeline", "", True))
    dice.choice(data["tasks"]).setdefault("error_handling", {})["on_failure"] = value
    return True


@semantic
def task_and_variable_with_one_name(data: Data, dice: random.Random) -> bool:
    name = dice.choice(data["tasks"])["name"]
    data["input_variables"][name] = {"type": "string", "required": False}
    return True


@semantic
def model_empty(data: Data, dice: random.Random) -> bool:
    asked = [task for task in data["tasks"] if "model" in task]
    if not asked:
        return False
    dice.choice(asked)["model"] = dice.choice(("", "   ", [], 4))
    return True


@semantic
def output_names_unknown_task(data: Data, dice: random.Random) -> bool:
    name = dice.choice(data["tasks"])["name"].replace(" ", "_")
    wrong = dice.choice((misspelt(name, dice), f"{name}_final", "answer"))
    data["output"] = {"x": f"{{{{ {wrong} }}}}"} if dice.random() < 0.5 else f"{{{{ {wrong} }}}}"
    return True


@semantic
def unknown_name_in_condition(data: Data, dice: random.Random) -> bool:
    name = dice.choice((*data["input_variables"], *(task["name"] for task in data["tasks"]))).replace(" ", "_")
    wrong = dice.choice((misspelt(name, dice), f"{name}_flag", "is_weekend"))
    dice.choice(data["tasks"])["condition"] = dice.choice((f"{{{{ {wrong} }}}}", f"{wrong} > 3", f"not {wrong}.ok"))
    return True


@semantic
def unknown_type_of_variable(data: Data, dice: random.Random) -> bool:
    rule = dice.choice(list(data["input_variables"].values()))
    rule["type"] = dice.choice((misspelt(rule["type"], dice), "text", "datetime", "", 3))
    return True


@semantic
def misspelt_name_in_script(data: Data, dice: random.Random) -> bool:
    names = {*data["input_variables"], *(task["name"] for task in data["tasks"])}
    found = [
        (task, name)
        for task in data["tasks"]
        for name in sorted(names)
        if re.search(rf"(?<![\w\"'.]){re.escape(name)}(?![\w\"'(=]|\s*=[^=])", task.get("script", ""))
    ]
    if not found:
        return False
    task, name = dice.choice(found)
    pattern = rf"(?<![\w\"'.]){re.escape(name)}(?![\w\"'(=]|\s*=[^=])"
    task["script"] = re.sub(pattern, misspelt(name, dice), task["script"])
    return True


@semantic
def unknown_task_looked_up(data: Data, dice: random.Random) -> bool:
    task = dice.choice(data["tasks"])
    name = misspelt(dice.choice(data["tasks"])["name"], dice)
    if "script" in task:
        task["script"] = f"before = context.get_task_output({name!r})\n{task['script']}"
    else:
        task["prompt"] += f" {{{{ tasks[{name!r}] }}}}"
    return True


def _reads(task: Data, name: str) -> bool:
    """Whether a task says the name of another where it would be read."""
    texts = [str(task.get(key, "")) for key in ("script", "prompt", "system", "condition", "inputs")]
    depends = task.get("depends_on") or []
    return name in depends or any(re.search(rf"(?<![\w\"]){re.escape(name)}(?!\w)", text) for text in texts)


def _depend(task: Data, name: str) -> None:
    given = task.get("depends_on") or []
    task["depends_on"] = [*([given] if isinstance(given, str) else given), name]


def _rename(holder: Data, key: str, new: str) -> None:
    items = [(new if each == key else each, value) for each, value in holder.items()]
    holder.clear()
    holder.update(items)


def _maps_of_ours(data: Data) -> Iterator[Data]:
    """The maps whose keys the dialect names."""
    yield data
    for rule in data["input_variables"].values():
        yield rule
        if isinstance(rule.get("validation"), dict):
            yield rule["validation"]
    for task in data["tasks"]:
        yield task
        if task.get("error_handling"):
            yield task["error_handling"]


# --- structural ------------------------------------------------------------------------------------------------------


def _lines(text: str, dice: random.Random) -> tuple[list[str], int]:
    lines = text.split("\n")
    return lines, dice.randrange(len(lines))


def _keyed(lines: list[str], dice: random.Random) -> int:
    return dice.choice([at for at, line in enumerate(lines) if re.match(r"\s*(- )?\w+:", line)])


@structural
def key_deleted(text: str, dice: random.Random) -> bytes:
    lines, _ = _lines(text, dice)
    del lines[_keyed(lines, dice)]
    return "\n".join(lines).encode()


@structural
def key_duplicated(text: str, dice: random.Random) -> bytes:
    lines, _ = _lines(text, dice)
    at = _keyed(lines, dice)
    return "\n".join([*lines[: at + 1], *lines[at:]]).encode()


@structural
def key_renamed(text: str, dice: random.Random) -> bytes:
    lines, _ = _lines(text, dice)
    at = _keyed(lines, dice)
    head, rest = lines[at].split(":", 1)
    lines[at] = f"{misspelt(head, dice)}:{rest}"
    return "\n".join(lines).encode()


@structural
def type_swapped(text: str, dice: random.Random) -> bytes:
    lines, _ = _lines(text, dice)
    at = _keyed(lines, dice)
    values = (
        "7",
        "[]",
        "{}",
        "true",
        "null",
        "[[1, {a: b}]]",
        "'text'",
        "1e400",
        "2026-11-25",
        "!!python/object:x {}",
        "*a",
        "0x1F",
    )
    lines[at] = f"{lines[at].split(':', 1)[0]}: {dice.choice(values)}"
    return "\n".join(lines).encode()


@structural
def truncated(text: str, dice: random.Random) -> bytes:
    data = text.encode()
    return data[: dice.randrange(len(data))]


@structural
def badly_indented(text: str, dice: random.Random) -> bytes:
    lines, at = _lines(text, dice)
    lines[at] = dice.choice(("\t", " ", "   ")) + lines[at] if dice.random() < 0.6 else lines[at].lstrip()
    return "\n".join(lines).encode()


@structural
def random_bytes(text: str, dice: random.Random) -> bytes:
    data = bytearray(text.encode())
    for _ in range(dice.randrange(1, 6)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


@structural
def deeply_nested(text: str, dice: random.Random) -> bytes:
    depth = dice.choice((50, 300, 5_000, 60_000))
    opening, closing = dice.choice((("[", "]"), ("{a: ", "}"), ("- " * 1, "")))
    extra = f"x-deep: {opening * depth}{closing * depth}" if closing else "x-deep:\n" + "  " + opening * depth + "1"
    lines, _ = _lines(text, dice)
    at = dice.choice([number for number, line in enumerate(lines) if re.match(r"\w+:", line)])
    return "\n".join([*lines[:at], extra, *lines[at:]]).encode()


@structural
def odd_unicode(text: str, dice: random.Random) -> bytes:
    at = dice.randrange(len(text))
    odd = dice.choice(
        (
            "\u2028",
            "\u0085",
            "\ufeff",
            "\u202e",
            "\u200b",
            "\x00",
            "\x07",
            "\ud83d\ude00",
            "ﬀ",
            "𝔸",
            "\udc80",
            "’",
            "：",
            " ",
        )
    )
    return (text[:at] + odd + text[at:]).encode("utf-8", "surrogatepass")


@structural
def lines_swapped(text: str, dice: random.Random) -> bytes:
    lines, one = _lines(text, dice)
    other = dice.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return "\n".join(lines).encode()


@structural
def alias_bomb(text: str, dice: random.Random) -> bytes:
    width = dice.choice((5, 9, 20))
    lines = [f"x-b0: &b0 [{', '.join(['x'] * width)}]"]
    lines += [f"x-b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * width)}]" for n in range(1, dice.choice((4, 9)))]
    return ("\n".join(lines) + "\n" + text).encode()


# --- tree ------------------------------------------------------------------------------------------------------------

Place = tuple[Any, Any]  # a map or a list, and a key or an index in it

STRANGERS = (
    *(None, True, False, 0, -1, 7, 2**63, 10**30, 1e308, float("inf"), -0.0, [], [[]], {}, {"a": {"b": "c"}}, [None]),
    *("", " ", "text", "{{ x }}", "{{ ", "{% if", ["x", "x"], "a" * 300, "1 hour", "-5%", "$5/month", "ünï \u2028"),
    *("~", ":start"),
)


def _places(value: Any) -> Iterator[Place]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)


def _some(data: Data, dice: random.Random, wanted: Callable[[Any, Any], bool] = lambda *_: True) -> Place | None:
    found = [(holder, key) for holder, key in _places(data) if wanted(holder, holder[key])]
    return dice.choice(found) if found else None


def _is_map(holder: Any, _: Any) -> bool:
    return isinstance(holder, dict)


@tree
def key_gone(data: Data, dice: random.Random) -> bool:
    if (place := _some(data, dice, _is_map)) is not None:
        del place[0][place[1]]
    return place is not None


@tree
def key_misspelt(data: Data, dice: random.Random) -> bool:
    place = _some(data, dice, lambda holder, _: isinstance(holder, dict) and any(len(key) > 1 for key in holder))
    if place is None or len(place[1]) < 2:
        return False
    _rename(place[0], place[1], misspelt(place[1], dice))
    return True


@tree
def stranger_for_value(data: Data, dice: random.Random) -> bool:
    if (place := _some(data, dice)) is not None:
        place[0][place[1]] = copy.deepcopy(dice.choice(STRANGERS))  # a map that is there twice may end up in itself
    return place is not None


@tree
def several_strangers(data: Data, dice: random.Random) -> bool:
    changed = [stranger_for_value(data, dice) for _ in range(5)]
    return any(changed)


@tree
def wrapped_in_a_list(data: Data, dice: random.Random) -> bool:
    if (place := _some(data, dice)) is not None:
        place[0][place[1]] = [place[0][place[1]]]
    return place is not None


@tree
def wrapped_in_a_map(data: Data, dice: random.Random) -> bool:
    if (place := _some(data, dice)) is not None:
        place[0][place[1]] = {dice.choice(("name", "tasks", "x-a", "then", "")): place[0][place[1]]}
    return place is not None


@tree
def two_values_changed_over(data: Data, dice: random.Random) -> bool:
    one, other = _some(data, dice), _some(data, dice)
    if one is None or other is None:
        return False
    first, second = one[0][one[1]], other[0][other[1]]
    if any(each is second for each in _inside(first)) or any(each is first for each in _inside(second)):
        return False  # a value inside of itself is no document
    one[0][one[1]], other[0][other[1]] = second, first
    return True


@tree
def item_twice(data: Data, dice: random.Random) -> bool:
    place = _some(data, dice, lambda _, value: isinstance(value, list) and bool(value))
    if place is not None:
        place[0][place[1]] = [*place[0][place[1]], place[0][place[1]][0]]
    return place is not None


@tree
def list_emptied(data: Data, dice: random.Random) -> bool:
    place = _some(data, dice, lambda _, value: isinstance(value, list | dict) and bool(value))
    if place is not None:
        place[0][place[1]] = type(place[0][place[1]])()
    return place is not None


TYPES = (
    *("python_task", "llm_task", "for_loop", "while_loop", "condition", "parallel_group", "component", "api_task"),
    *("dynamic_task_group", "pipeline_group", "test_suite", "load_test", "deployment", "string", "file", "sauna"),
)


@tree
def another_type(data: Data, dice: random.Random) -> bool:
    place = _some(data, dice, lambda holder, _: isinstance(holder, dict) and "type" in holder)
    if place is None:
        return False
    place[0]["type"] = dice.choice(TYPES)
    return True


@tree
def texts_cut(data: Data, dice: random.Random) -> bool:
    place = _some(data, dice, lambda _, value: isinstance(value, str) and len(value) > 3)
    if place is not None:
        text = place[0][place[1]]
        place[0][place[1]] = text[: dice.randrange(1, len(text))]
    return place is not None


def _inside(value: Any) -> Iterator[Any]:
    yield value
    for holder, key in _places(value):
        yield holder[key]
