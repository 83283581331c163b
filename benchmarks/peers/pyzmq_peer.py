"""pyzmq by itself: small messages one way, joined by the thousand; and one question under way, waited on by trio.

Usage: COUNT. It starts its other half itself. Prints one JSON object.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time

import trio
import zmq

TOGETHER = 1000
MESSAGE = b"0123456789abcdef"


def serve(folder: str) -> None:
    """The other half: echoes single messages, takes joined ones apart; one thread for each."""
    threading.Thread(target=trio.run, args=(echo, folder), daemon=True).start()
    context = zmq.Context()
    sink, done = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    sink.bind(f"ipc://{folder}/sink")
    done.bind(f"ipc://{folder}/done")
    print("ready", flush=True)
    taken: list[bytes] = []
    while True:
        data = sink.recv()
        if data:
            taken += [data[place : place + len(MESSAGE)] for place in range(0, len(data), len(MESSAGE))]
        else:
            done.send(str(len(taken)).encode())
            taken.clear()


async def echo(folder: str) -> None:
    """Say again what was said."""
    socket: zmq.Socket[bytes] = zmq.Context().socket(zmq.REP)
    socket.bind(f"ipc://{folder}/echo")
    while True:
        await readable(socket)
        socket.send(socket.recv())


async def readable(socket: "zmq.Socket[bytes]") -> None:
    """trio waits for the descriptor; ``EVENTS`` says whether there is something."""
    while not int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
        await trio.lowlevel.wait_readable(int(socket.get(zmq.FD)))


async def ask(folder: str, count: int) -> float:
    """Questions per second, trio waiting for each answer."""
    context = zmq.Context()
    socket: zmq.Socket[bytes] = context.socket(zmq.REQ)
    socket.connect(f"ipc://{folder}/echo")
    begun = time.perf_counter()
    for _ in range(count):
        socket.send(MESSAGE)
        await readable(socket)
        socket.recv()
    rate = count / (time.perf_counter() - begun)
    context.destroy(0)
    return rate


def tell(folder: str, count: int) -> float:
    """Messages per second."""
    context = zmq.Context()
    sink, done = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    sink.connect(f"ipc://{folder}/sink")
    done.connect(f"ipc://{folder}/done")
    waiting: list[bytes] = []
    begun = time.perf_counter()
    for _ in range(count):
        waiting.append(MESSAGE)
        if len(waiting) == TOGETHER:
            sink.send(b"".join(waiting))
            waiting.clear()
    sink.send(b"")
    assert int(done.recv()) == count // TOGETHER * TOGETHER
    rate = count / (time.perf_counter() - begun)
    context.destroy(0)
    return rate


def main() -> None:
    """Either half."""
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
        return
    count = int(sys.argv[1])
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([sys.executable, __file__, "serve", folder], stdout=subprocess.PIPE) as server,
    ):
        try:
            assert server.stdout is not None
            server.stdout.readline()
            print(json.dumps({"tell": tell(folder, count), "ask": trio.run(ask, folder, count // 100)}))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
