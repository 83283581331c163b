"""Who watches an actor is told when it is gone for good: here, elsewhere, and when nobody can know better."""

import pytest
import trio
import trio.testing

from nfactor.actors import Actor, Messages, Ref, Terminated, handles, message
from nfactor.errors import CallerError
from tests.actors.network import Network
from tests.actors.samples import Add, Counter, Fail, Stop, Total, virtual_time
from tests.actors.worlds import LIMITS, many_nodes


@message(tag=30)
class Watch:
    ref: Ref
    begins: bool = True


MESSAGES = Messages(Watch, Add, Total, Fail, Stop)


class Onlooker(Actor):
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    @handles(Watch)
    def watch(self, message: Watch) -> None:
        (self.context.watch if message.begins else self.context.unwatch)(message.ref)

    @handles(Terminated)
    def gone(self, message: Terminated) -> None:
        self.seen.append((message.ref.node_name, message.ref.actor_name, message.reason))


@pytest.mark.parametrize("place", ["a", "b"])
@virtual_time
async def test_the_end_of_an_actor_is_told_once_and_its_restarts_are_not(place: str) -> None:
    async with many_nodes("ab", MESSAGES) as nodes:
        onlooker = Onlooker()
        watcher = await nodes["a"][1].start(lambda: onlooker)
        supervisor = nodes[place][1]
        stopped = await supervisor.start(Counter, name="stopped")
        failed = await supervisor.start(Counter, name="failed", restart="temporary")
        for ref in (stopped, failed, stopped):
            await watcher.ask(Watch(ref))
        await trio.sleep(0.1)
        stopped.tell_nowait(Fail("once"))  # which is mended
        failed.tell_nowait(Fail("for good"))
        await trio.sleep(0.1)
        assert [(place, "failed", "failed")] == onlooker.seen
        await supervisor.stop(stopped)
        await trio.sleep(0.1)
        assert [(place, "failed", "failed"), (place, "stopped", "stopped")] == onlooker.seen


@pytest.mark.parametrize("place", ["a", "b", "nowhere"])
@virtual_time
async def test_whoever_is_not_there_is_gone_at_once(place: str) -> None:
    async with many_nodes("ab", MESSAGES, limits=LIMITS) as nodes:
        onlooker = Onlooker()
        watcher = await nodes["a"][1].start(lambda: onlooker)
        await watcher.ask(Watch(nodes["a"][0].ref(place, "nobody")))
        await trio.sleep(3)
        assert [(place, "nobody", "peer-down" if place == "nowhere" else "no-actor")] == onlooker.seen


@virtual_time
async def test_a_node_that_is_not_heard_any_more_takes_its_actors_with_it() -> None:
    """Though nobody sends anything: a watch keeps asking whether the other is there."""
    network = Network()
    async with many_nodes("ab", MESSAGES, network=network, limits=LIMITS) as nodes:
        onlooker = Onlooker()
        watcher = await nodes["a"][1].start(lambda: onlooker)
        await watcher.ask(Watch(await nodes["b"][1].start(Counter, name="far")))
        await trio.sleep(20)
        assert [] == onlooker.seen
        network.cut["b"] = None
        await trio.sleep(3)
        assert [("b", "far", "peer-down")] == onlooker.seen


@virtual_time
async def test_who_looks_away_is_told_nothing() -> None:
    async with many_nodes("ab", MESSAGES) as nodes:
        onlooker = Onlooker()
        watcher = await nodes["a"][1].start(lambda: onlooker)
        for place in "ab":
            ref = await nodes[place][1].start(Counter)
            await watcher.ask(Watch(ref))
            await watcher.ask(Watch(ref, begins=False))
            await trio.sleep(0.1)
            await nodes[place][1].stop(ref)
        await trio.sleep(0.1)
        assert [] == onlooker.seen


@virtual_time
async def test_a_watcher_that_is_gone_leaves_no_watch_behind() -> None:
    async with many_nodes("ab", MESSAGES) as nodes:
        watcher = await nodes["a"][1].start(Onlooker)
        for place in "ab":
            await watcher.ask(Watch(await nodes[place][1].start(Counter, name=f"x{place}")))
        await nodes["a"][1].stop(watcher)
        assert not nodes["a"][0].watches.watches("b")
        assert not nodes["a"][0].watches.watches("a")


@virtual_time
async def test_a_full_mailbox_still_takes_the_news() -> None:
    async with many_nodes("a", MESSAGES) as nodes:
        onlooker = Onlooker()
        supervisor = nodes["a"][1]
        watcher = await supervisor.start(lambda: onlooker, mailbox_size_max=1)
        refs = [await supervisor.start(Counter) for _ in range(5)]
        for ref in refs:
            await watcher.ask(Watch(ref))
        for ref in refs:
            supervisor.stop_nowait(ref)
        await trio.testing.wait_all_tasks_blocked()
        assert 5 == len(onlooker.seen)


@virtual_time
async def test_a_keyed_actor_cannot_be_watched() -> None:
    class Direct(Onlooker):
        async def started(self) -> None:
            self.context.watch(self.context.ref.at(b"key"))

    async with many_nodes("a", MESSAGES) as nodes:
        with pytest.raises(CallerError, match="watch the table"):
            await nodes["a"][1].start(Direct)
