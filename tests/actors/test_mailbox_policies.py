"""Back-pressure: what a full mailbox does, here and across nodes."""

import pytest
import trio
import trio.testing

from nfactor.actors import LinkLimits
from nfactor.errors import CallerError, MailboxFull
from tests.actors.samples import Add, Counter, Nap, Sleeper, Total, Urgent, virtual_time
from tests.actors.worlds import one_node, peer, two_nodes


@virtual_time
async def test_drop_new_keeps_what_waits() -> None:
    actor = Sleeper()
    async with one_node() as (node, supervisor):
        ref = await supervisor.start(lambda: actor, name="s", mailbox_size_max=2, overflow="drop-new")
        ref.tell_nowait(Nap(1))
        await trio.testing.wait_all_tasks_blocked()
        for number in range(4):
            await ref.tell(Add(number))
        with pytest.raises(MailboxFull, match=r"dropped the message \(drop-new\)"):
            await ref.ask(Add(9))
        await trio.sleep(2)
        assert [Nap(1), Add(0), Add(1)] == actor.seen
        assert {"overflow": 2} == node.statistics().dead_letters
        mailbox = node.statistics().mailboxes["s"]
        assert (3, 3, 3, 0) == (mailbox.received, mailbox.handled, mailbox.dropped, mailbox.refused)


@virtual_time
async def test_drop_old_keeps_what_is_new_on_each_lane() -> None:
    actor = Sleeper()
    async with one_node() as (node, supervisor):
        ref = await supervisor.start(lambda: actor, name="s", mailbox_size_max=2, overflow="drop-old")
        ref.tell_nowait(Nap(1))
        await trio.testing.wait_all_tasks_blocked()
        for number in range(4):
            ref.tell_nowait(Add(number))
            ref.tell_nowait(Urgent(number))
        await trio.sleep(2)
        assert [Nap(1), Urgent(2), Urgent(3), Add(2), Add(3)] == actor.seen
        assert {"overflow": 4} == node.statistics().dead_letters
        mailbox = node.statistics().mailboxes["s"]
        assert (9, 5, 4) == (mailbox.received, mailbox.handled, mailbox.dropped)


@virtual_time
async def test_a_question_that_drop_old_pushes_out_raises() -> None:
    async with one_node() as (_, supervisor), trio.open_nursery() as nursery:
        ref = await supervisor.start(Sleeper, mailbox_size_max=1, overflow="drop-old")
        ref.tell_nowait(Nap(1))
        await trio.testing.wait_all_tasks_blocked()

        async def ask() -> None:
            with pytest.raises(MailboxFull, match="drop-old"):
                await ref.ask(Nap(0), Total)

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        ref.tell_nowait(Add(1))


@pytest.mark.parametrize("options", [{"overflow": "drop"}, {"mailbox_size_max": 0}])
@virtual_time
async def test_a_mailbox_that_cannot_be_is_the_callers_error(options: dict[str, object]) -> None:
    async with one_node() as (_, supervisor):
        with pytest.raises(CallerError, match="use"):
            await supervisor.start(Counter, **options)  # type: ignore[arg-type]


@virtual_time
async def test_an_actor_elsewhere_that_does_not_keep_up_holds_up_its_own_senders_only() -> None:
    """Nothing bounces: who has no credit waits here."""
    limits = LinkLimits(credit_max=16)
    async with two_nodes(limits=limits) as world, trio.open_nursery() as nursery:
        slow = Sleeper()
        await world.supervisor.start(lambda: slow, name="slow", mailbox_size_max=20)
        await world.supervisor.start(Counter, name="quick")
        to_slow, to_quick = world.a.ref("b", "slow"), world.a.ref("b", "quick")
        await to_slow.tell(Nap(10))

        async def flood() -> None:
            for number in range(100):
                await to_slow.tell(Add(number))

        nursery.start_soon(flood)
        await trio.sleep(1)
        assert 1 == peer(world.a, "b").senders_waiting
        with pytest.raises(MailboxFull, match="has not handled the last 16 messages"):
            to_slow.tell_nowait(Add(0))
        for _ in range(100):
            await to_quick.tell(Add(1))
            await trio.sleep(0.01)
        assert Total(100) == await to_quick.ask(Add(0), Total)
        assert 1 == len(slow.seen)
        await trio.sleep(15)
        assert [Nap(10), *map(Add, range(100))] == slow.seen
        assert {} == world.a.statistics().dead_letters
        assert 0 == peer(world.a, "b").senders_waiting


@virtual_time
async def test_credit_comes_back_from_an_actor_that_stops() -> None:
    limits = LinkLimits(credit_max=16)
    async with two_nodes(limits=limits) as world:
        ref = await world.supervisor.start(Sleeper, name="x", mailbox_size_max=100)
        far = world.a.ref("b", "x")
        await far.tell(Nap(100))
        for number in range(15):
            await far.tell(Add(number))
        await trio.sleep(0.1)
        await world.supervisor.stop(ref)
        await world.supervisor.start(Sleeper, name="x")
        with trio.fail_after(1):
            for number in range(40):
                await far.tell(Add(number))


@virtual_time
async def test_a_new_session_begins_with_all_its_credit() -> None:
    limits = LinkLimits(credit_max=16, give_up_s=1.0)
    async with two_nodes(limits=limits) as world, trio.open_nursery() as nursery:
        far = world.a.ref("b", "x")
        world.network.cut["b"] = None
        for number in range(16):
            await far.tell(Add(number))
        nursery.start_soon(far.tell, Add(16))
        actor = Sleeper()
        await world.supervisor.start(lambda: actor, name="x")
        await trio.sleep(1.5)
        world.network.cut.clear()
        await trio.sleep(1)
        assert [Add(16)] == actor.seen
        assert {"in-doubt": 16} == world.a.statistics().dead_letters
