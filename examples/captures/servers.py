"""The servers of the recording: HTTP over TCP and over MPTCP, DNS and a UDP service whose answers need fragments.

Prints ``ready`` once all of them listen; ends when its input is closed.
"""

import http.server
import re
import socket
import struct
import sys
import threading
import urllib.parse

HTTP_PORT, MPTCP_PORT, DNS_PORT, BULK_PORT = 80, 8080, 53, 5353
IPPROTO_MPTCP = 262
SENTENCE = b"The quick brown fox jumps over the lazy dog. "
BULK_OCTETS = 3_600
CHUNK_OCTETS = 700


def body(size: int) -> bytes:
    """That many octets of text."""
    return (SENTENCE * (size // len(SENTENCE) + 1))[:size]


class Handler(http.server.BaseHTTPRequestHandler):
    """``/objects/SIZE`` answers so many octets, ``/chunked/SIZE`` in chunks, ``/moved`` redirects, the rest is 404."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "nfactor-demo", ""
    wbufsize = -1  # one write for head and body, as servers that care for packets do
    timeout = 20.0

    def do_GET(self) -> None:
        """Answer with text."""
        path = urllib.parse.urlsplit(self.path).path
        if found := re.fullmatch(r"/objects/(\d+)", path):
            self.answer(200, body(int(found[1])))
        elif found := re.fullmatch(r"/chunked/(\d+)", path):
            self.answer_in_chunks(body(int(found[1])))
        elif path == "/moved":
            self.answer(302, b"", Location="/objects/64")
        elif path == "/cached":
            self.send_response(304)
            self.end_headers()
        else:
            self.answer(404, b"no such object\n")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Read an upload and say how large it was."""
        left = int(self.headers["Content-Length"])
        size = left
        while left:
            left -= len(self.rfile.read(min(left, 65_536)))
        self.answer(201 if self.command == "PUT" else 200, b"%d octets\n" % size)

    do_PUT = do_POST

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        """A response of known length."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer_in_chunks(self, content: bytes) -> None:
        """A response whose length is not said before."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(content), CHUNK_OCTETS):
            chunk = content[start : start + CHUNK_OCTETS]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *arguments: object) -> None:
        """Say nothing: what happened is in the capture."""


class Server(http.server.ThreadingHTTPServer):
    """An HTTP server on one address family."""

    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that reset their connection are part of the recording."""

    def server_bind(self) -> None:
        """Bind without asking a resolver for the host's name, as the base class would."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.socket.bind(self.server_address)


class Server6(Server):
    """The same over IPv6."""

    address_family = socket.AF_INET6


class MptcpServer(Server):
    """The same, with a listening socket of Multipath TCP."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        self.server_bind()
        self.server_activate()


def dns_answer(query: bytes) -> bytes:
    """An answer with one address record for a query with one question."""
    record = struct.pack(">HHHIH4s", 0xC00C, 1, 1, 300, 4, socket.inet_aton("192.0.2.1"))
    return query[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + query[12:] + record


def serve_udp(service: socket.socket, bulk: bool) -> None:
    """Answer every datagram: a DNS answer, or one so long that IP must fragment it."""
    while True:
        request, client = service.recvfrom(2048)
        service.sendto(body(BULK_OCTETS) if bulk else dns_answer(request), client)


def main() -> None:
    """Start everything, then wait for the end of the input."""
    # A socket for each address, so that a UDP answer comes from the address that was asked.
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"):
        for port in (DNS_PORT, BULK_PORT):
            service = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
            service.bind((address, port))
            threading.Thread(target=serve_udp, args=(service, port == BULK_PORT), daemon=True).start()
    for server in (
        Server(("0.0.0.0", HTTP_PORT), Handler),
        Server6(("::", HTTP_PORT), Handler),
        MptcpServer(("0.0.0.0", MPTCP_PORT)),
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
