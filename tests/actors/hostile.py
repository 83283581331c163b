"""A peer that sends whatever it likes, in frames that are right: what a node makes of it."""

import trio
import trio.testing

from nfactor.actors import ActorTable, Link, LinkLimits, handles_keyed, open_node, open_supervisor
from nfactor.actors.actor import Actor, handles
from tests.actors.network import Network
from tests.actors.samples import MESSAGES, Add, Counter, Here, Total

PAYLOAD_OCTETS_MAX = 1000
LIMITS = LinkLimits(message_octets_max=PAYLOAD_OCTETS_MAX)


class Table(ActorTable[int]):
    """Keyed counters."""

    @handles_keyed(Add, creates=True)
    def add(self, key: bytes, message: Add) -> Total:
        self.records[key] = self.records.get(key, 0) + message.number
        return Total(self.records[key])


class Teller(Actor):
    """Tells a ref that came in a message: to whom the peer likes."""

    @handles(Here)
    def here(self, message: Here) -> None:
        message.ref.tell_nowait(Add(1))


def meet(payloads: list[bytes]) -> int:
    """Let a node take these as messages of a link; how many of them, or of their parts, it counted as no message.

    The node has to answer a proper question afterwards.
    """
    counted: list[int] = []

    async def main() -> None:
        network = Network()
        transport = network.transport("x")
        async with (
            open_node("b", network.transport("b"), MESSAGES, limits=LIMITS) as node,
            open_supervisor(node) as supervisor,
            open_node("c", network.transport("c"), MESSAGES) as other,
        ):
            for kind in (Counter, Table, Teller):
                await supervisor.start(kind, name=kind.__name__.lower(), restart="permanent")
            link = Link(1, 1400, lane=1, limits=LIMITS)
            for payload in filter(None, payloads):
                link.send(payload[:PAYLOAD_OCTETS_MAX], trio.current_time())
            with trio.move_on_after(2):
                while True:
                    for datagram in link.poll(trio.current_time()):
                        transport.send("b", datagram)
                    while (arrived := transport.receive()) is not None:
                        link.receive(arrived[1], trio.current_time())
                    link.take()
                    if link.idle:
                        break
                    await trio.sleep(0.01)
            await other.ref("b", "counter").ask(Add(0), Total)
            counted.append(node.peer("x").statistics().undecodable)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return counted[0]
