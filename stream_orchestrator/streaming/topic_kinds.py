"""What each kind of topic carries and how it is kept: the files in `topics/`, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

FOLDER = files(__package__) / "topics"
# What a topic keeps through the loss of a broker; the factor itself depends on the cluster.
RETENTION = "retention.ms"
SAFETY = {"unclean.leader.election.enable": "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicKind:
    """One file of `topics/`. `exact`: another partition count than asked for would break what is built on it."""

    name: str
    summary: str
    partitions: str
    key: str
    config: Mapping[str, str]
    schema: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    public: bool = False
    exact: bool = False
    fixed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """A topic as it should be. `grows`: what is in it stays right when partitions are added, so they may be.

    `retention`: after so many seconds records must be gone, whatever its kind says.
    """

    name: str
    kind: TopicKind
    partitions: int
    grows: bool = False
    retention: float | None = None

    @property
    def config(self) -> dict[str, str]:
        """Its settings, without what depends on the cluster's size."""
        kept = {} if self.retention is None else {RETENTION: str(round(self.retention * 1000))}
        return {**self.kind.config, **SAFETY, **kept}


def topic_spec(
    kind: str, name: str, *, partitions: int, grows: bool = False, retention: float | None = None
) -> TopicSpec:
    """The topic of that kind and name. A kind with a fixed partition count keeps it."""
    found = topic_kinds()[kind]
    return TopicSpec(name=name, kind=found, partitions=found.fixed or partitions, grows=grows, retention=retention)


@cache
def topic_kinds() -> Mapping[str, TopicKind]:
    """Every kind, by name."""
    found = (path for path in FOLDER.iterdir() if path.name.endswith(".yaml"))
    return {kind.name: kind for kind in sorted((_read(path) for path in found), key=lambda kind: kind.name)}


def _read(path: Any) -> TopicKind:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    config = {key: str(value) for key, value in values.pop("config").items()}
    return TopicKind(name=path.name.removesuffix(".yaml"), config=config, **values)
