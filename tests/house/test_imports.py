"""The tree is the drawing: rooms import in one direction only, and brokers' clients stay in one room."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "stream_orchestrator"
FRONT_DOORS = {"__main__"}  # and the package itself
BROKER_CLIENTS = {"faust", "aiokafka", "mode"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def rooms_in_order() -> list[str]:
    """The order as the architecture page tells it; what stands later may import what stands before."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    told = re.search(r"Imports point one way: `([^`]+)`", page)
    assert told, "docs/architecture.md tells the direction of imports"
    return [room.strip() for group in told[1].split("→") for room in group.split(",")]


def imports_of(tree: ast.AST, module: str, *, at_load: bool = False) -> Iterator[str]:
    """Every module that is imported, wherever in the file; with `at_load` only what importing the module imports."""
    package = module if MODULES.get(module, Path()).name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                yield whole if whole in MODULES or alias.name == "__version__" else source
        elif not (at_load and runs_later(node)):
            yield from imports_of(node, module, at_load=at_load)


def runs_later(node: ast.AST) -> bool:
    """Whether what is inside does not run when the module is loaded."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def room_of(module: str) -> str:
    """`stream_orchestrator.kernel.apply` is in `kernel`; the front doors are in no room."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] not in FRONT_DOORS else ""


def wrong_imports(module: str, names: list[str], order: list[str]) -> list[str]:
    """The imports that point the wrong way. Front doors may import every room; rooms take of them the version alone."""
    room = room_of(module)
    allowed = order[: order.index(room) + 1] if room else ["", *order]
    ours = [name for name in names if name.split(".")[0] == "stream_orchestrator"]
    return [name for name in ours if room_of(name) not in (*allowed, "__version__")]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    order = rooms_in_order()
    assert not room_of(module) or room_of(module) in order, "a new room has a place in docs/architecture.md"
    assert wrong_imports(module, list(imports_of(parsed(module), module)), order) == []


@pytest.mark.parametrize("module", MODULES)
def test_whether_a_file_is_there_is_asked_of_os_path_which_never_raises(module: str) -> None:
    called = (
        ast.unparse(node.func) for node in ast.walk(parsed(module)) if isinstance(node, ast.Call) and not node.keywords
    )
    asked = [name for name in called if name.endswith((".is_file", ".is_dir", ".exists"))]
    # those of pathlib raise for a name that is too long, as a user may write one
    assert [name for name in asked if name != "os.path.exists"] == []


def test_an_import_in_the_wrong_direction_is_noticed_even_inside_a_function() -> None:
    tree = ast.parse("def late():\n    from stream_orchestrator.streaming import records\n")
    names = list(imports_of(tree, "stream_orchestrator.kernel.apply"))
    assert wrong_imports("stream_orchestrator.kernel.apply", names, rooms_in_order()) == names != []


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) != "streaming"])
def test_only_streaming_knows_the_brokers_clients(module: str) -> None:
    assert not {name.split(".")[0] for name in imports_of(parsed(module), module)} & BROKER_CLIENTS


def test_no_module_imports_itself_through_others_when_it_is_loaded() -> None:
    graph = {
        module: {name for name in imports_of(parsed(module), module, at_load=True) if name in MODULES} - {module}
        for module in MODULES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
