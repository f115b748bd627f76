"""Config files: which one an environment has, and what it extends.

Promises
  * `extends` leads from file to file inside one root: absolute paths, and paths (or links) out of it, are refused.
  * A cycle is refused, and printed.
  * A folder that anybody may write to is never searched: what lies there may be a stranger's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from stream_orchestrator.errors import SpecError, UsageError
from stream_orchestrator.spec.documents import Document, read
from stream_orchestrator.spec.hushed import hushed
from stream_orchestrator.spec.kinds import CONFIG
from stream_orchestrator.spec.loader import load_file
from stream_orchestrator.spec.located import Located
from stream_orchestrator.spec.problems import raise_errors

FOLDER = "config"
SUFFIXES = (".yaml", ".yml")
_LEVELS = 4  # how far above a pipeline its project may begin


def find(env: str, near: Iterable[Path]) -> Path | None:
    """`config/<env>.yaml` beside or above one of these files and folders, else in the working folder."""
    found = (_in_folder(folder / FOLDER, env) for folder in _folders(near))
    file = next((file for file in found if file is not None), None)
    here = Path.cwd()
    return file.relative_to(here) if file is not None and file.is_relative_to(here) else file


def environments(near: Iterable[Path]) -> tuple[str, ...]:
    """The environments that `find` would find."""
    folders = [folder / FOLDER for folder in _folders(near)]
    found = (file for folder in folders if os.path.isdir(folder) for file in folder.iterdir())
    return tuple(sorted({file.stem for file in found if _is_env(file)}))


def chosen(given: Path, env: str) -> Path:
    """What `--config` names: a file, or the environment's file in a folder."""
    if not os.path.isdir(given):
        return given
    file = _in_folder(given, env)
    if file is None:
        raise UsageError(f"there is no {env}.yaml in {given}", hint="--env names one that is there")
    return file


def chain(file: Path, env: str) -> list[Document]:
    """The file and all that it extends, the lowest first; each checked. SpecError with all that is wrong in one."""
    documents = _loaded(file)
    if any(each.part for each in documents):
        found = _chain_of_parts(documents, env)
    else:
        found = _chain_of_files(file, documents)
    checked = [read(located, kind=CONFIG) for located in reversed(found)]
    for document in checked:
        raise_errors(document.problems)
    return checked


def _chain_of_files(file: Path, documents: Sequence[Located]) -> list[Located]:
    root = file.resolve().parent
    root = root.parent if root.name == FOLDER else root
    found, seen = [_only(documents)], [file.resolve()]
    while (target := _extends(found[-1])) is not None:
        if "\0" in target:
            _refuse(found[-1], "the name of a file has no NUL in it", "name a file beside this one")
        path = Path(os.path.realpath(seen[-1].parent / target))
        if PurePosixPath(target).is_absolute() or not path.is_relative_to(root):
            _refuse(found[-1], f"`{target}` is outside of {root}", "name a file beside this one, or below the root")
        if path in seen:
            _refuse_cycle(found[-1], [each.relative_to(root).as_posix() for each in (*seen, path)])
        if not os.path.isfile(path):
            _refuse(found[-1], f"there is no file `{target}`", f"it would be {path}")
        seen.append(path)
        found.append(_only(_loaded(path)))
    return found


def _chain_of_parts(documents: Sequence[Located], env: str) -> list[Located]:
    parts = {os.path.normpath(each.part): each for each in documents}
    name = next((name for name in parts if Path(name).stem == env), None)
    if name is None:
        shown = ", ".join(f"`{Path(each).stem}`" for each in parts)
        raise UsageError(f"{documents[0].file} holds no environment `{env}`", hint=f"--env names one of {shown}")
    seen = [name]
    while (target := _extends(parts[seen[-1]])) is not None:
        path = os.path.normpath(PurePosixPath(seen[-1]).parent / target)
        if path in seen:
            _refuse_cycle(parts[seen[-1]], [*seen, path])
        if path not in parts:
            _refuse(parts[seen[-1]], f"there is no file `{target}` in this text", f"it holds {', '.join(parts)}")
        seen.append(path)
    return [parts[each] for each in seen]


def _loaded(file: Path) -> list[Located]:
    return [hushed(each) for each in load_file(file)]


def _only(documents: Sequence[Located]) -> Located:
    raise_errors(tuple(problem for each in documents for problem in each.problems))
    if len(documents) != 1 or not isinstance(documents[0].data, dict):
        raise UsageError(f"{documents[0].file} is no config file", hint="it holds one map of settings")
    if "tasks" in documents[0].data:
        raise UsageError(f"{documents[0].file} is a pipeline, not a config file", hint="--config names settings")
    return documents[0]


def _extends(located: Located) -> str | None:
    raise_errors(located.problems)
    target = located.data.get("extends") if isinstance(located.data, dict) else None
    return target if isinstance(target, str) and target.strip() else None


def _refuse_cycle(located: Located, names: list[str]) -> None:
    cycle = names[names.index(names[-1]) :]
    _refuse(located, f"`extends` goes round in a circle: {' → '.join(cycle)}", "take one of them out")


def _refuse(located: Located, message: str, hint: str) -> None:
    raise_errors((located.problem("bad-extends", message, path=("extends",), hint=hint),))
    raise SpecError(message, hint=hint)


def _in_folder(folder: Path, env: str) -> Path | None:
    if env != Path(env).name:
        return None  # a path is not the name of an environment
    return next((file for suffix in SUFFIXES if os.path.isfile(file := folder / f"{env}{suffix}")), None)


def _is_env(file: Path) -> bool:
    return file.suffix in SUFFIXES and file.stem != "base"


def _folders(near: Iterable[Path]) -> Iterator[Path]:
    for path in near:
        folder = path.absolute() if os.path.isdir(path) else path.absolute().parent
        for each in (folder, *list(folder.parents)[:_LEVELS]):
            if _is_open(each):
                break
            yield each
    yield Path.cwd()


def _is_open(folder: Path) -> bool:
    try:
        return bool(folder.stat().st_mode & 0o002)
    except OSError:
        return True
