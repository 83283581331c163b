"""A chat room: refs travel in messages, so the room needs to know nothing of where its members are.

python examples/chat.py                                 a room and three talkative members, each a process
python examples/chat.py room FOLDER                     the room (its sockets are files in FOLDER)
python examples/chat.py NAME FOLDER [LINE...]           a member, who says the lines and listens
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence

import trio

from nfactor.actors import Actor, Messages, Ref, handles, incarnation_now, message, open_node, open_supervisor
from nfactor.backends.zmq import AddressBook, ZmqPeer, open_zmq

NAMES = ("ada", "bo", "cy")


@message(tag=1)
class Join:
    name: str
    member: Ref
    """Where what is said is to be sent."""


@message(tag=2)
class Say:
    name: str
    text: str


@message(tag=3)
class Welcome:
    members: tuple[str, ...]


MESSAGES = Messages(Join, Say, Welcome)


class Room(Actor):
    """Passes on what is said, to everybody, in one order."""

    def __init__(self) -> None:
        self.members: dict[str, Ref] = {}

    @handles(Join)
    def join(self, message: Join) -> Welcome:
        self.members[message.name] = message.member
        return Welcome(tuple(sorted(self.members)))

    @handles(Say)
    def say(self, message: Say) -> None:
        for member in self.members.values():
            member.tell_nowait(message)


class Member(Actor):
    """Hears; and leaves when it has heard enough."""

    def __init__(self, enough: trio.Event, lines: int) -> None:
        self._enough = enough
        self._left = lines

    @handles(Say)
    def hear(self, message: Say) -> None:
        print(f"{self.context.node.name} hears {message.name}: {message.text}", flush=True)
        self._left -= 1
        if self._left == 0:
            self._enough.set()


def book_of(folder: str) -> AddressBook:
    return AddressBook(nodes={name: ZmqPeer(f"ipc://{folder}/{name}") for name in ("room", *NAMES)})


async def room(folder: str) -> None:
    async with (
        open_zmq(book_of(folder)) as network,
        open_node("room", network.transport("room", f"ipc://{folder}/room"), MESSAGES) as node,
        open_supervisor(node) as supervisor,
    ):
        await supervisor.start(Room, name="room")
        await trio.sleep_forever()


async def member(name: str, folder: str, lines: Sequence[str]) -> None:
    enough = trio.Event()
    async with (
        open_zmq(book_of(folder)) as network,
        open_node(
            name, network.transport(name, f"ipc://{folder}/{name}"), MESSAGES, incarnation=incarnation_now()
        ) as node,
        open_supervisor(node) as supervisor,
    ):
        me = await supervisor.start(lambda: Member(enough, len(NAMES) * len(lines)), name="member")
        there = node.ref("room", "room")
        present: tuple[str, ...] = ()
        with trio.fail_after(20):
            while len(present) < len(NAMES):  # until everybody is here
                present = (await there.ask(Join(name, me), Welcome)).members
                await trio.sleep(0.05)
            for line in lines:
                await there.tell(Say(name, line))
            await enough.wait()
            await trio.sleep(0.2)  # so that the room's last datagram to us is acknowledged


def demo() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__]
        host = subprocess.Popen([*command, "room", folder])
        try:
            talkers = [subprocess.Popen([*command, name, folder, "hello", f"I am {name}"]) for name in NAMES]
            assert [process.wait(30) for process in talkers] == [0, 0, 0]
        finally:
            host.kill()
            host.wait()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        demo()
    elif sys.argv[1] == "room":
        trio.run(room, sys.argv[2])
    else:
        trio.run(member, sys.argv[1], sys.argv[2], sys.argv[3:])
