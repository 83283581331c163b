"""Messages and actors that several tests of the actors use."""

import functools
from collections.abc import Awaitable, Callable

import attrs
import trio
import trio.testing

from nfactor.actors import Actor, DeadLetter, Instrument, Messages, Ref, TraceContext, handles, message
from nfactor.errors import RemoteError


def virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on a clock that jumps to the next deadline when all tasks wait."""

    @functools.wraps(test)
    def run(*args: object, **options: object) -> None:
        trio.run(functools.partial(test, *args, **options), clock=trio.testing.MockClock(autojump_threshold=0))

    return run


@message(tag=1)
class Add:
    number: int


@message(tag=2)
class Total:
    number: int


@message(tag=3)
class Fail:
    text: str


@message(tag=4)
class Refuse:
    text: str


@message(tag=5)
class Who:
    """Answered with the actor's own ref."""


@message(tag=6)
class Here:
    ref: Ref


@message(tag=7)
class Nap:
    seconds: float


@message(tag=8, system=True)
class Urgent:
    number: int


@message(tag=9)
class Stop:
    pass


@message(tag=10)
class Unknown:
    """Nobody has a handler for it."""


MESSAGES = Messages(Add, Total, Fail, Refuse, Who, Here, Nap, Urgent, Stop, Unknown)


class Counter(Actor):
    """Adds numbers up; all its handlers are plain."""

    def __init__(self) -> None:
        self.total = 0

    @handles(Add)
    def add(self, message: Add) -> Total:
        self.total += message.number
        return Total(self.total)

    @handles(Fail)
    def fail(self, message: Fail) -> None:
        raise ValueError(message.text)

    @handles(Refuse)
    def refuse(self, message: Refuse) -> None:
        raise RemoteError("refused", message.text)

    @handles(Who)
    def who(self, message: Who) -> Here:
        return Here(self.context.ref)

    @handles(Stop)
    def stop(self, message: Stop) -> None:
        self.context.stop()


class Sleeper(Actor):
    """Writes down what it handles, and takes its time; it has a task of its own."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    @handles(Nap)
    async def nap(self, message: Nap) -> Total:
        self.seen.append(message)
        await trio.sleep(message.seconds)
        return Total(len(self.seen))

    @handles(Add)
    def add(self, message: Add) -> None:
        self.seen.append(message)

    @handles(Urgent)
    def urgent(self, message: Urgent) -> None:
        self.seen.append(message)

    @handles(Fail)
    async def fail(self, message: Fail) -> None:
        raise ValueError(message.text)

    @handles(Stop)
    async def stop(self, message: Stop) -> Total:
        self.context.stop()
        await trio.sleep(1)
        return Total(1)


class Looker(Instrument):
    """Sees every message that is delivered."""

    def __init__(self) -> None:
        self.messages: list[object] = []

    def delivered(self, node: str, actor: str, message: object, trace: TraceContext | None) -> None:
        self.messages.append(message)


@attrs.define(eq=False)
class Watcher(Instrument):
    """Writes down what it sees."""

    letters: list[DeadLetter] = attrs.Factory(list)
    downs: list[tuple[str, str, str, int]] = attrs.Factory(list)
    failures: list[tuple[str, str]] = attrs.Factory(list)
    restarts: list[str] = attrs.Factory(list)

    def dead_letter(self, node: str, letter: DeadLetter) -> None:
        self.letters.append(letter)

    def peer_down(self, node: str, peer: str, lane: str, reason: str, in_doubt: int) -> None:
        self.downs.append((peer, lane, reason, in_doubt))

    def actor_failed(self, node: str, actor: str, error: Exception) -> None:
        self.failures.append((actor, repr(error)))

    def actor_restarted(self, node: str, actor: str) -> None:
        self.restarts.append(actor)
