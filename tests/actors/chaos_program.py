"""One of five processes that ask each other over ZeroMQ, run by ``test_five_processes``: ``NAME FOLDER SEED``.

It ends when there is a file ``stop`` in the folder.

Each line of its log is written at once, before whatever it speaks of can be seen elsewhere: ``ask ID``, ``acked ID``,
``doubt ID``, ``refused ID`` (its node was there and the actor not yet, or no longer), and on the other side ``got ID``.
An ID is made once in all the world.
"""

import os
import random
import sys

import trio

from nfactor.actors import (
    Actor,
    LinkLimits,
    Messages,
    Node,
    handles,
    incarnation_now,
    message,
    open_node,
    open_supervisor,
)
from nfactor.backends.zmq import AddressBook, ZmqPeer, open_zmq
from nfactor.errors import ActorDead, PeerDown

NAMES = ("a", "b", "c", "d", "e")
LIMITS = LinkLimits(give_up_s=0.6, probe_after_s=0.1)
ASKERS = 4
STOP = "stop"


@message(tag=1)
class Item:
    number: str


@message(tag=2)
class Thanks:
    number: str


class Log:
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, what: str, number: str) -> None:
        os.write(self._file, f"{what} {number}\n".encode())


class Taker(Actor):
    def __init__(self, log: Log) -> None:
        self._log = log

    @handles(Item)
    def take(self, message: Item) -> Thanks:
        self._log.write("got", message.number)
        return Thanks(message.number)


async def ask_for_ever(node: Node, log: Log, rng: random.Random, asker: int) -> None:
    count = 0
    while True:
        peer = rng.choice([name for name in NAMES if name != node.name])
        count += 1
        number = f"{node.name}-{node.incarnation}-{asker}-{count}"
        log.write("ask", number)
        try:
            answer = await node.ref(peer, "taker").ask(Item(number), Thanks)
        except PeerDown:
            log.write("doubt", number)
        except ActorDead:
            log.write("refused", number)
            await trio.sleep(0.01)
        else:
            assert answer.number == number
            log.write("acked", number)


async def main(name: str, folder: str, seed: int) -> None:
    book = AddressBook(nodes={other: ZmqPeer(f"ipc://{folder}/{other}") for other in NAMES})
    log, incarnation = Log(f"{folder}/{name}.log"), incarnation_now()
    async with (
        open_zmq(book) as network,
        open_node(
            name,
            network.transport(name, f"ipc://{folder}/{name}"),
            Messages(Item, Thanks),
            incarnation=incarnation,
            limits=LIMITS,
        ) as node,
        open_supervisor(node) as supervisor,
    ):
        await supervisor.start(lambda: Taker(log), name="taker")
        async with trio.open_nursery() as nursery:
            for asker in range(ASKERS):
                nursery.start_soon(ask_for_ever, node, log, random.Random(f"{seed}-{asker}"), asker)
            while not await trio.Path(folder, STOP).exists():  # noqa: ASYNC110 - another process makes it
                await trio.sleep(0.02)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
