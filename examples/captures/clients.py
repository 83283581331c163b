"""The clients of the recording: a fixed list of jobs, drawn with a fixed seed, many of them under way at once."""

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from operator import itemgetter

from servers import BULK_PORT, DNS_PORT, HTTP_PORT, IPPROTO_MPTCP, MPTCP_PORT, body

SEED = 7
SECONDS = 16.0
SOCKET_TIMEOUT_S = 15.0
CLOSED_PORT = 81
HOST = "www.example.test"
SERVERS = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
CLIENTS = {
    4: tuple(f"192.0.2.{host}" for host in range(101, 121)),
    6: tuple(f"2001:db8::{host:x}" for host in range(101, 121)),
}
# What an intrusion detection system is there to find; the demo's rules name these strings.
ATTACKS = (
    ("GET", "/download?file=../../../../etc/passwd", b""),
    ("GET", "/scripts/..%c0%af../winnt/system32/cmd.exe?/c+dir", b""),
    ("GET", "/search?q=%3Cscript%3Ealert(1)%3C/script%3E", b""),
    ("POST", "/login", b"user=admin' OR 1=1 --&password=x"),
)

Job = Callable[[], None]


class Connection(http.client.HTTPConnection):
    """An HTTP connection from a chosen address, over TCP or Multipath TCP."""

    def __init__(self, source: str, target: str, *, port: int = HTTP_PORT, protocol: int = 0) -> None:
        super().__init__(target, port, timeout=SOCKET_TIMEOUT_S)
        self.source = source
        self.protocol = protocol

    def connect(self) -> None:
        """Open the socket; no resolver is asked."""
        self.sock = open_stream(self.source, self.host, self.port, self.protocol)

    def exchange(self, method: str, uri: str, content: bytes = b"") -> None:
        """One request and its whole response."""
        headers = {"Host": HOST, "User-Agent": "nfactor-demo", "Accept-Encoding": "identity"}
        self.request(method, uri, content or None, headers)
        self.getresponse().read()


def open_stream(source: str, target: str, port: int, protocol: int = 0) -> socket.socket:
    """A connected stream socket from a chosen address."""
    stream = socket.socket(family_of(target), socket.SOCK_STREAM, protocol)
    stream.settimeout(SOCKET_TIMEOUT_S)
    stream.bind((source, 0))
    stream.connect((target, port))
    return stream


def family_of(address: str) -> socket.AddressFamily:
    """IPv6 addresses have colons."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def talk(source: str, target: str, uris: list[str], pause_s: float) -> None:
    """One connection kept alive for several requests, with pauses for thought."""
    with contextlib.closing(Connection(source, target)) as connection:
        for uri in uris:
            connection.exchange("GET", uri)
            time.sleep(pause_s)


def transfer(source: str, target: str, method: str, size: int) -> None:
    """One long download (GET) or upload (PUT, POST)."""
    with contextlib.closing(Connection(source, target)) as connection:
        if method == "GET":
            connection.exchange("GET", f"/objects/{size}")
        else:
            connection.exchange(method, "/uploads/1", body(size))


def multipath(source: str, target: str, sizes: list[int]) -> None:
    """Downloads, then an upload, over Multipath TCP; the kernel opens the second sub-flow after the first exchange."""
    connection = Connection(source, target, port=MPTCP_PORT, protocol=IPPROTO_MPTCP)
    with contextlib.closing(connection):
        for size in sizes:
            connection.exchange("GET", f"/objects/{size}")
            time.sleep(0.2)
        connection.exchange("PUT", "/uploads/2", body(sizes[-1] // 2))


def attack(source: str, target: str, method: str, uri: str, content: bytes) -> None:
    """One request that an intrusion detection system should notice."""
    with contextlib.closing(Connection(source, target)) as connection:
        connection.exchange(method, uri, content)


def pipeline(source: str, target: str, uris: list[str]) -> None:
    """All requests in one write, before any response."""
    with open_stream(source, target, HTTP_PORT) as stream:
        heads = [f"GET {uri} HTTP/1.1\r\nHost: {HOST}\r\n" for uri in uris]
        heads[-1] += "Connection: close\r\n"
        stream.sendall("".join(head + "\r\n" for head in heads).encode())
        while stream.recv(65_536):
            pass


def abort(source: str, target: str) -> None:
    """Reset the connection in the middle of a download."""
    with open_stream(source, target, HTTP_PORT) as stream:
        stream.sendall(f"GET /objects/40000 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        stream.recv(2_000)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def refused(source: str, target: str) -> None:
    """Knock at a closed TCP port; the answer is a reset."""
    with contextlib.suppress(ConnectionRefusedError):
        open_stream(source, target, CLOSED_PORT)


def ask(source: str, target: str, port: int, request: bytes) -> None:
    """One UDP request and its answer; a closed port answers with an ICMP error."""
    with socket.socket(family_of(target), socket.SOCK_DGRAM) as client:
        client.settimeout(2.0)
        client.bind((source, 0))
        client.connect((target, port))
        client.send(request)
        with contextlib.suppress(ConnectionRefusedError):
            client.recv(65_535)


def dns_query(number: int) -> bytes:
    """A question for the address of ``hostN.example.test``."""
    labels = b"".join(bytes([len(label)]) + label for label in (b"host%d" % number, b"example", b"test"))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


def ping(source: str, target: str, count: int) -> None:
    """Some echo requests; the kernel at the other end answers."""
    six = ":" in target
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    with socket.socket(family_of(target), socket.SOCK_RAW, protocol) as client:
        client.bind((source, 0))
        for sequence in range(count):
            head = struct.pack(">BBHHH", 128 if six else 8, 0, 0, 0x1D05, sequence)
            echo = head + bytes(range(48))
            if not six:  # the kernel fills in the checksum of ICMPv6 alone
                echo = echo[:2] + struct.pack(">H", checksum(echo)) + echo[4:]
            client.sendto(echo, (target, 0))
            time.sleep(0.25)


def checksum(message: bytes) -> int:
    """The internet checksum of a message of even length."""
    total: int = sum(struct.unpack(f">{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def draw_jobs(rng: random.Random) -> list[tuple[float, Job]]:
    """All jobs with the times at which they start, in order of time."""
    jobs: list[tuple[float, Job]] = []

    def uri() -> str:
        kind = rng.choices(("objects", "chunked", "moved", "cached", "missing"), (80, 8, 4, 4, 4))[0]
        return f"/{kind}/{rng.randrange(60, 1500)}" if kind in ("objects", "chunked") else f"/{kind}"

    def uris(least: int, most: int) -> list[str]:
        return [uri() for _ in range(rng.randint(least, most))]

    def add(count: int, until: float, draw: Callable[[str, str], Job]) -> None:
        """That many jobs, from any client to any server, that start within this part of the recording."""
        for _ in range(count):
            version = 6 if rng.random() < 0.25 else 4
            job = draw(rng.choice(CLIENTS[version]), rng.choice(SERVERS[version]))
            jobs.append((rng.uniform(0.0, until * SECONDS), job))

    add(190, 0.9, lambda a, b: partial(talk, a, b, uris(1, 1), rng.choice((0.0, 0.5, 2.0))))
    add(80, 0.7, lambda a, b: partial(talk, a, b, uris(2, 5), rng.uniform(0.5, 2.0)))
    add(16, 0.05, lambda a, b: partial(talk, a, b, uris(28, 39), rng.uniform(0.3, 0.45)))
    add(3, 0.5, lambda a, b: partial(transfer, a, b, "GET", rng.randrange(130_000, 190_000)))
    add(2, 0.5, lambda a, b: partial(transfer, a, b, "PUT", rng.randrange(90_000, 150_000)))
    add(12, 0.9, lambda a, b: partial(transfer, a, b, "POST", rng.randrange(300, 6_000)))
    add(2, 0.9, lambda a, b: partial(pipeline, a, b, uris(4, 4)))
    add(3, 0.9, lambda a, b: partial(abort, a, b))
    add(3, 0.9, lambda a, b: partial(refused, a, b))
    add(50, 0.95, lambda a, b: partial(ask, a, b, DNS_PORT, dns_query(rng.randrange(1, 200))))
    add(3, 0.9, lambda a, b: partial(ask, a, b, BULK_PORT, b"bulk"))
    add(2, 0.9, lambda a, b: partial(ask, a, b, CLOSED_PORT, b"anybody there?"))
    add(6, 0.8, lambda a, b: partial(ping, a, b, 4))
    requests = iter(ATTACKS * 2)
    add(len(ATTACKS) * 2, 0.9, lambda a, b: partial(attack, a, b, *next(requests)))
    for start, sizes in ((0.1, [400, 130_000]), (0.45, [400, 90_000])):
        jobs.append((start * SECONDS, partial(multipath, "192.0.2.101", "192.0.2.1", sizes)))
    return sorted(jobs, key=itemgetter(0))


def main() -> None:
    """Start every job at its time, each in a thread of its own, and wait for all."""
    failures: list[str] = []

    def guarded(job: Job) -> None:
        try:
            job()
        except Exception as error:
            failures.append(repr(error))

    begin = time.monotonic()
    threads = []
    for start, job in draw_jobs(random.Random(SEED)):
        time.sleep(max(0.0, begin + start - time.monotonic()))
        threads.append(threading.Thread(target=guarded, args=(job,), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(timeout=SOCKET_TIMEOUT_S)
    if failures:
        raise SystemExit(f"clients: {len(failures)} jobs failed: {failures[:3]}")


if __name__ == "__main__":
    main()
