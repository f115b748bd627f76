"""Dead letters on their topics: read them, and publish them again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from stream_orchestrator.cli.letters import Attempts, Letter, Redrive, chosen, letters_of, redrives
from stream_orchestrator.errors import MissingError, UsageError
from stream_orchestrator.plan import names
from stream_orchestrator.streaming.client import produce, read_all, reading
from stream_orchestrator.streaming.deployments import Deployments
from stream_orchestrator.streaming.settings import StreamSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """The dead letters of one pipeline."""

    settings: StreamSettings
    prefix: str
    pipeline: str

    async def read(self, *, ids: Collection[str] = (), reasons: Collection[str] = ()) -> list[Letter]:
        """Those that were asked for. An id that is not there is a UsageError."""
        letters = letters_of(await read_all(self.settings, names.dlq_topic(self.prefix, self.pipeline)))
        unknown = set(ids) - {letter.id for letter in letters} - {letter.run_id for letter in letters}
        if unknown:
            raise UsageError(
                f"there is no dead letter {', '.join(f'`{each}`' for each in sorted(unknown))} of {self.pipeline}",
                hint=f"`stream-orchestrator dlq list {self.pipeline}` lists their ids",
            )
        return chosen(letters, ids=ids, reasons=reasons)

    async def plan(self, letters: Sequence[Letter], *, named: bool) -> list[Redrive]:
        """What a redrive of these would do."""
        if not named:
            newest = {letter.root: letter for letter in letters}  # the order of arrival: the last one of a root stays
            letters = list(newest.values())
        return redrives(letters, await self._attempts(), named=named)

    async def redrive(self, planned: Sequence[Redrive], *, payload: bytes | None = None) -> None:
        """Publish them to the input topic; returns when the broker has them all."""
        starting = [each for each in planned if each.starts]
        letters = [each.letter if payload is not None else await self._whole(each.letter) for each in starting]
        records = [letter.again(each.number, payload=payload) for letter, each in zip(letters, starting, strict=True)]
        if records:
            await produce(self.settings, names.input_topic(self.prefix, self.pipeline), records)

    async def _whole(self, letter: Letter) -> Letter:
        """The letter with the original in it: one that is a reference says where that stands."""
        if not letter.is_reference:
            return letter
        topic, partition, offset = (letter.told(f"dlq-{name}") for name in ("topic", "partition", "offset"))
        async with reading(self.settings, topic) as reader:
            found = await reader.at(topic, int(partition), int(offset))
        if found is None:
            raise MissingError(
                f"letter {letter.id} refers to {topic}/{partition}/{offset}, which is not there any more",
                hint="--payload FILE gives it the event again; nothing was redriven",
            )
        original = tuple((name, value or b"") for name, value in found.headers)
        return replace(letter, record=replace(letter.record, value=found.value, headers=(*original, *letter.ours)))

    async def active_version(self) -> str:
        """The version that new runs begin with."""
        deployments = Deployments(self.settings, self.prefix)
        await deployments.start()
        try:
            if not deployments.of(self.pipeline):
                raise MissingError(f"no version of {self.pipeline} is deployed", hint="`worker FILE` deploys it")
            return deployments.active(self.pipeline).plan.version
        finally:
            await deployments.stop()

    async def _attempts(self) -> Attempts:
        attempts = Attempts()
        topics = (names.input_topic, names.results_topic, names.dlq_topic)
        for record in await read_all(self.settings, *(topic(self.prefix, self.pipeline) for topic in topics)):
            run_id, status = record.header("run-id"), record.header("status")
            if run_id is not None:
                attempts.saw(run_id.decode(errors="replace"), (status or b"").decode(errors="replace"))
        return attempts
