"""Tables that take many messages at once."""

import pytest
import trio.testing

from nfactor.actors import ActorTable, handles, handles_batch, handles_keyed
from nfactor.errors import ActorDead, RemoteError
from tests.actors.samples import Add, Fail, Stop, Total, Who, virtual_time
from tests.actors.worlds import one_node, two_nodes


class Sums(ActorTable[int]):
    def __init__(self) -> None:
        self.calls: list[int] = []

    @handles_batch(Add, creates=True)
    def add(self, batch: list[tuple[bytes, Add]]) -> list[Total]:
        self.calls.append(len(batch))
        totals = []
        for key, message in batch:
            self.records[key] = self.records.get(key, 0) + message.number
            totals.append(Total(self.records[key]))
        return totals

    @handles_batch(Fail)
    def fail(self, batch: list[tuple[bytes, Fail]]) -> None:
        raise RemoteError("refused", f"{len(batch)} of them")

    @handles_batch(Stop)
    def wrong(self, batch: list[tuple[bytes, Stop]]) -> list[Total]:
        return []

    @handles_keyed(Who)
    def who(self, key: bytes, message: Who) -> Total:
        return Total(self.records[key])

    @handles(Who)
    def count(self, message: Who) -> Total:
        return Total(len(self.records))


@virtual_time
async def test_messages_that_wait_next_to_each_other_are_one_call() -> None:
    async with one_node() as (node, supervisor):
        actor = Sums()
        table = await supervisor.start(lambda: actor, name="sums")
        for number in range(10):
            table.at(b"%d" % (number % 3)).tell_nowait(Add(number))
        table.tell_nowait(Who())
        table.at(b"0").tell_nowait(Add(100))
        assert Total(3) == await table.ask(Who(), Total)
        assert [10, 1] == actor.calls
        assert {b"0": 118, b"1": 12, b"2": 15} == actor.records
        assert 13 == node.statistics().mailboxes["sums"].handled


@virtual_time
async def test_each_asker_of_a_batch_gets_its_own_reply() -> None:
    async with two_nodes() as world, trio.open_nursery() as nursery:
        actor = Sums()
        await world.supervisor.start(lambda: actor, name="sums")
        table = world.a.ref("b", "sums")
        totals: dict[int, int] = {}

        async def ask(number: int) -> None:
            totals[number] = (await table.at(b"%d" % number).ask(Add(number), Total)).number

        async with trio.open_nursery() as asks:
            for number in range(20):
                asks.start_soon(ask, number)
        assert {number: number for number in range(20)} == totals
        nursery.cancel_scope.cancel()


@virtual_time
async def test_what_goes_wrong_goes_wrong_for_the_whole_batch() -> None:
    async with one_node() as (_, supervisor):
        table = await supervisor.start(Sums)
        with pytest.raises(ActorDead):
            await table.at(b"nobody").ask(Fail("x"))
        await table.at(b"k").ask(Add(1), Total)
        with pytest.raises(RemoteError, match="1 of them"):
            await table.at(b"k").ask(Fail("x"))
        with pytest.raises(RemoteError, match=r"wrong has to return None or 1 replies"):
            await table.at(b"k").ask(Stop())
        await trio.testing.wait_all_tasks_blocked()
        assert Total(0) == await table.ask(Who(), Total), "that one was a failure: the table began anew"
