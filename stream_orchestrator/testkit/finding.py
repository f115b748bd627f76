"""Which pipeline a test document is about.

Promises
  * What is named is taken: a path beside the document, a file's name, a pipeline's name; else there is an error with
    the nearest match, never another pipeline.
  * What is not named is the pipeline whose name, or whose file's name, the document's file or its name holds; the
    longest such name.
  * It is looked for beside the document, then in each folder above, and below `pipelines/` in each of them; the nearest
    place that has one wins, up to the folder of the project (`.git`, `pyproject.toml`).
  * Of several versions: the one that the document's file names, else the highest that is not in `staging/`, else the
    highest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from stream_orchestrator.errors import UsageError
from stream_orchestrator.plan.loading import SUFFIXES
from stream_orchestrator.plan.names import slug
from stream_orchestrator.spec import kinds
from stream_orchestrator.spec.documents import read_file

_VERSION = re.compile(r"-v?(\d+\.\d+\.\d+\S*)$")
_ROOT_MARKS = (".git", "pyproject.toml", ".hg")
PIPELINES, STAGING = "pipelines", "staging"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file with one pipeline, as far as its head tells."""

    path: Path
    slug: str
    version: str

    @property
    def names(self) -> tuple[str, str]:
        """What a test document may call it: by its own name, or by its file's, without the version."""
        return self.slug, slug(_VERSION.sub("", self.path.stem))

    @property
    def rank(self) -> tuple[bool, tuple[int, ...], bool, str]:
        """Of several versions the highest rank is taken. A pre-release stands below its release."""
        numbers, _, rest = self.version.partition("-")
        parts = tuple(int(part) for part in re.findall(r"\d+", numbers.split("+")[0])[:3])
        return STAGING not in self.path.parts, parts, not rest, rest


def find_pipeline(document: Path, *, named: str | None, title: str) -> Path:
    """The file of the pipeline that a test document is about; UsageError when it cannot be told."""
    here = document.resolve().parent
    if named is not None:
        return _named(named, here)
    file = _VERSION.sub("", document.stem)
    for held in (slug(file), slug(title)):
        for found in _nearest_first(here):
            if fitting := _longest(held, found):
                return _version_of(fitting, document).path
    known = sorted({each.slug for found in _nearest_first(here) for each in found})
    raise UsageError(
        f"{document}: neither the file's name nor `{title}` holds the name of a pipeline",
        hint=f"write `pipeline: FILE` into the document; there are: {', '.join(known) or 'none'}",
    )


def _named(named: str, here: Path) -> Path:
    beside = here / named
    if os.path.isfile(beside):
        return beside.resolve()
    file, wanted = Path(named).name, slug(named)
    known: set[str] = set()
    for found in _nearest_first(here):
        known |= {name for each in found for name in (each.path.name, each.slug)}
        exact = [each for each in found if each.path.name == file and each.path.as_posix().endswith(named.lstrip("./"))]
        fitting = exact or [each for each in found if wanted in (each.slug, slug(each.path.stem))]
        if fitting:
            return max(fitting, key=lambda each: each.rank).path
    nearest = get_close_matches(file, sorted(known), 1)
    hint = (
        f"did you mean `{nearest[0]}`?" if nearest else f"it is looked for from {here} upwards, and below `pipelines/`"
    )
    raise UsageError(f"there is no pipeline `{named}`", hint=hint)


def _longest(held: str, found: Iterable[Candidate]) -> list[Candidate]:
    """Those of them with the longest name that is held."""
    lengths = [(max((len(name) for name in each.names if _holds(held, name)), default=0), each) for each in found]
    longest = max((length for length, _ in lengths), default=0)
    return [each for length, each in lengths if length == longest > 0]


def _version_of(found: list[Candidate], document: Path) -> Candidate:
    told = _VERSION.search(document.stem)
    same = [each for each in found if told and each.version == told[1]]
    return max(same or found, key=lambda each: each.rank)


def _holds(text: str, name: str) -> bool:
    """Whether whole words of a slug are another slug: `test-content-analysis-unit` holds `content-analysis`."""
    return bool(name) and f"-{name}-" in f"-{text}-"


def _nearest_first(here: Path) -> Iterator[tuple[Candidate, ...]]:
    for folder in (here, *here.parents):
        yield _candidates(folder)
        yield _candidates(folder / PIPELINES, deep=True)
        if any(os.path.exists(folder / mark) for mark in _ROOT_MARKS):
            return


def _candidates(folder: Path, *, deep: bool = False) -> tuple[Candidate, ...]:
    if not os.path.isdir(folder):
        return ()
    try:
        paths = sorted(folder.rglob("*") if deep else folder.iterdir())
    except OSError:  # a folder above us that is not ours to read has no pipeline for us
        return ()
    files = (path for path in paths if path.suffix in SUFFIXES and os.path.isfile(path))
    return tuple(each for path in files if (each := _candidate(path)) is not None)


def _candidate(path: Path) -> Candidate | None:
    try:
        if not re.search(rb"^tasks\s*:", path.read_bytes(), re.MULTILINE):
            return None  # most files are something else, and reading one whole takes milliseconds
        documents = read_file(path)
    except (OSError, UsageError):
        return None
    for document in documents:
        if document.kind == kinds.PIPELINE:
            data = document.located.data
            version = str(data.get("version") or "0.0.0") if isinstance(data, dict) else "0.0.0"
            return Candidate(path, slug(document.name), version)
    return None
