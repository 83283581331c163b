"""A small lossy cluster whose digests must be the same in every process and Python: run by test_simulate.py."""

import trio

from nfactor.backends.memory import LinkRule, open_memory_network
from nfactor.packet.burst import Burst
from nfactor.testing import Simulation, simulate

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


if __name__ == "__main__":
    for seed in range(3):
        print(simulate(main, seed=seed).digest)
