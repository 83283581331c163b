"""Two nodes that talk to each other: as two processes here, or on two hosts.

python examples/ping_two_hosts.py                                                     both, on this machine
python examples/ping_two_hosts.py server tcp://0.0.0.0:7001 tcp://OTHER_HOST:7002     on the one host
python examples/ping_two_hosts.py client tcp://0.0.0.0:7002 tcp://THIS_HOST:7001      on the other
"""

import statistics
import subprocess
import sys
import tempfile
from time import perf_counter

import trio

from nfactor.actors import Actor, Messages, handles, incarnation_now, message, open_node, open_supervisor
from nfactor.backends.zmq import AddressBook, ZmqPeer, open_zmq

PINGS = 500


@message(tag=1)
class Ping:
    number: int


@message(tag=2)
class Pong:
    number: int


class Echo(Actor):
    """What a handler returns is the answer."""

    @handles(Ping)
    def ping(self, message: Ping) -> Pong:
        return Pong(message.number)


MESSAGES = Messages(Ping, Pong)


async def serve(bind: str, client: str) -> None:
    book = AddressBook(nodes={"client": ZmqPeer(client)})
    async with (
        open_zmq(book) as network,
        open_node("server", network.transport("server", bind), MESSAGES, incarnation=incarnation_now()) as node,
        open_supervisor(node) as supervisor,
    ):
        await supervisor.start(Echo, name="echo")
        await trio.sleep_forever()


async def ask(bind: str, server: str) -> None:
    book = AddressBook(nodes={"server": ZmqPeer(server)})
    async with (
        open_zmq(book) as network,
        open_node("client", network.transport("client", bind), MESSAGES, incarnation=incarnation_now()) as node,
    ):
        echo, taken = node.ref("server", "echo"), []
        with trio.fail_after(20):  # the first one waits until the server is there
            for number in range(PINGS):
                start = perf_counter()
                assert (await echo.ask(Ping(number), Pong)).number == number
                taken.append(perf_counter() - start)
        print(f"{PINGS} questions, each answered; median {statistics.median(taken) * 1e6:.0f} µs")


def main() -> None:
    if len(sys.argv) == 4:
        _, role, bind, other = sys.argv
        trio.run({"server": serve, "client": ask}[role], bind, other)
        return
    with tempfile.TemporaryDirectory() as folder:
        server, client = f"ipc://{folder}/server", f"ipc://{folder}/client"
        with subprocess.Popen([sys.executable, __file__, "server", server, client]) as process:
            try:
                trio.run(ask, client, server)
            finally:
                process.terminate()


if __name__ == "__main__":
    main()
