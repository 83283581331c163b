"""Lossy clusters whose digests must be the same in every process and Python: run by test_simulate.py.

One of bare ports and transports, one of actors that ask, watch, fail and crash.
"""

import trio

from nfactor.actors import Actor, LinkLimits, Messages, Node, Supervisor, handles, message
from nfactor.backends.memory import LinkRule, open_memory_network
from nfactor.errors import NfactorError
from nfactor.packet.burst import Burst
from nfactor.testing import Simulation, open_nodes, simulate

ADDRESSES = [bytes([2, 0, 0, 0, 0, number]) for number in range(6)]


async def main(sim: Simulation) -> None:
    rules = [LinkRule(loss=0.1, duplicate=0.1, reorder=0.2)]
    links = {"data_latency_s": 1e-5, "data_jitter_s": 1e-5, "control_latency_s": 5e-5, "control_jitter_s": 2e-5}
    async with open_memory_network(rng=sim.random("network"), rules=rules, **links) as network:
        ports = [network.port(address) for address in ADDRESSES]
        transports = [network.transport(f"node-{number}") for number in range(6)]

        async def node(number: int) -> None:
            rng, port, transport = sim.random(f"node-{number}"), ports[number], transports[number]
            while True:
                with trio.move_on_after(rng.random() * 1e-4):
                    await port.wait_readable()
                while (burst := port.receive()) is not None:
                    sim.note(burst.marks.tobytes())
                while (got := transport.receive()) is not None:
                    sim.note(f"{number} {got}")
                targets = [rng.choice(ADDRESSES) for _ in range(rng.randrange(5))]
                frames = [target + ADDRESSES[number] + bytes(50) for target in targets]
                port.send(Burst.from_frames(frames, marks=range(len(frames))))
                transport.send(f"node-{rng.randrange(6)}", rng.randbytes(4))

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(node, number)
            await trio.sleep(3e-3)
            nursery.cancel_scope.cancel()
        sim.note(repr(network.statistics()))


@message(tag=1)
class Add:
    number: int


@message(tag=2)
class Total:
    number: int


class Counter(Actor[Add]):
    """Counts slowly, and fails at 17."""

    def __init__(self) -> None:
        self.total = 0

    @handles(Add)
    async def add(self, message: Add) -> Total:
        self.total += message.number
        await trio.sleep(1e-4)
        if self.total == 17:
            raise ValueError(self.total)
        return Total(self.total)


async def start(node: Node, supervisor: Supervisor) -> None:
    await supervisor.start(Counter, name="counter")


async def actors(sim: Simulation) -> None:
    names = ["a", "b", "c", "d"]
    async with open_nodes(sim, Messages(Add, Total), jitter_s=1e-3, loss=0.2, bits_per_s=1e6) as nodes:
        for name in names:
            await nodes.start(name, start, limits=LinkLimits(give_up_s=0.5))

        async def ask(name: str) -> None:
            rng = sim.random(name)
            for _ in range(30):
                target = rng.choice(names)
                try:
                    reply = await nodes[name].ref(target, "counter", accepts=Counter).ask(Add(1), Total)
                    sim.note(f"{name} {target} {reply}")
                except NfactorError as error:
                    sim.note(f"{name} {target} {error}")

        async with trio.open_nursery() as nursery:
            for name in names[:3]:
                nursery.start_soon(ask, name)
            await trio.sleep(0.02)
            nodes.crash("d")
            await trio.sleep(0.02)
            await nodes.restart("d")


if __name__ == "__main__":
    for seed in range(3):
        print(simulate(main, seed=seed).digest, simulate(actors, seed=seed).digest)
