"""Tables of keyed actors: one mailbox, any number of records."""

import attrs
import pytest
import trio
import trio.testing

from nfactor.actors import (
    ActorTable,
    handles,
    handles_keyed,
)
from nfactor.errors import ActorDead, RemoteError
from tests.actors.samples import (
    Add,
    Counter,
    Fail,
    Sleeper,
    Stop,
    Total,
    Urgent,
    Who,
    virtual_time,
)
from tests.actors.worlds import one_node


@attrs.define
class Record:
    """A keyed actor."""

    total: int = 0


class Totals(ActorTable[Record]):
    """Adds up by key."""

    @handles_keyed(Add, creates=True)
    def add(self, key: bytes, message: Add) -> Total:
        record = self.records.setdefault(key, Record())
        record.total += message.number
        return Total(record.total)

    @handles_keyed(Stop)
    def stop(self, key: bytes, message: Stop) -> None:
        del self.records[key]

    @handles(Who)
    def count(self, message: Who) -> Total:
        return Total(len(self.records))

    @handles_keyed(Fail)
    def fail(self, key: bytes, message: Fail) -> None:
        raise ValueError(message.text)


@virtual_time
async def test_keyed_actors_live_as_long_as_their_record() -> None:
    """Each has a ref; a message to a key without record finds nobody unless its handler creates one."""
    async with one_node() as (node, supervisor):
        table = await supervisor.start(Totals)
        a, b = table.at(b"a"), table.at(b"b")
        assert Total(1) == await a.ask(Add(1), Total)
        assert Total(3) == await a.ask(Add(2), Total)
        assert Total(1) == await b.ask(Add(1), Total)
        assert Total(2) == await table.ask(Who(), Total)
        await a.ask(Stop())
        assert Total(1) == await table.ask(Who(), Total)
        with pytest.raises(ActorDead, match=r"\[61\]"):
            await a.ask(Stop())
        a.tell_nowait(Stop())
        with pytest.raises(RemoteError, match="no handler for Urgent"):
            await b.ask(Urgent(1))
        await trio.testing.wait_all_tasks_blocked()
        assert {"no-actor": 1} == node.statistics().dead_letters


@virtual_time
async def test_a_keyed_message_to_an_actor_that_is_no_table_is_unhandled() -> None:
    """And the other way round."""
    async with one_node() as (_, supervisor):
        for actor in (Counter, Sleeper):
            ref = await supervisor.start(actor)
            with pytest.raises(RemoteError, match="UnhandledMessage"):
                await ref.at(b"key").ask(Add(1), Total)
        table = await supervisor.start(Totals)
        with pytest.raises(RemoteError, match="UnhandledMessage"):
            await table.ask(Add(1), Total)


@virtual_time
async def test_a_table_that_fails_begins_again_empty() -> None:
    """It is one actor to its supervisor."""
    async with one_node() as (_, supervisor):
        table = await supervisor.start(Totals)
        await table.at(b"a").tell(Add(1))
        with pytest.raises(RemoteError):
            await table.at(b"a").ask(Fail("broken"))
        assert Total(0) == await table.ask(Who(), Total)


@virtual_time
async def test_a_table_may_have_an_init_of_its_own() -> None:
    """``records`` is there before it."""

    class Full(Totals):
        def __init__(self, keys: list[bytes]) -> None:
            self.records.update({key: Record() for key in keys})

    async with one_node() as (_, supervisor):
        assert Total(2) == await (await supervisor.start(lambda: Full([b"x", b"y"]))).ask(Who(), Total)
