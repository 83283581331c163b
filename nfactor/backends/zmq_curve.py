"""Encryption and authentication on ZeroMQ: CURVE keys, and the ZAP handler that knows whom to let in.

CURVE (rfc.zeromq.org/spec/26) encrypts every connection and proves that each side has the secret key to its public one.
Whom a public key stands for, ZeroMQ asks a handler inside the process (ZAP, rfc.zeromq.org/spec/27), which answers with
the name of the node; every message from that connection then carries this name, and a node cannot speak for another.
"""

from collections.abc import Mapping

import attrs
import trio
import zmq
from zmq.utils import z85

from nfactor.errors import CallerError

_ZAP_ENDPOINT = "inproc://zeromq.zap.01"
_ZAP_VERSION = b"1.0"
_KEY_OCTETS = 40
_ZAP_PARTS = 7
_POLLIN = int(zmq.POLLIN)  # arithmetic with the enumeration costs as much as asking the socket


@attrs.frozen
class Keys:
    """A key pair in Z85, 40 characters each. Keep the secret one secret."""

    public: bytes
    secret: bytes = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        for kind, key in (("public", self.public), ("secret", self.secret)):
            if len(key) != _KEY_OCTETS:
                raise CallerError(
                    f"a {kind} key has 40 characters (Z85), this one {len(key)}: make some with generate()"
                )

    @classmethod
    def generate(cls) -> "Keys":
        """A new pair."""
        return cls(*zmq.curve_keypair())


def has_input(socket: "zmq.Socket[bytes]") -> bool:
    """Whether something can be received now. Asking also makes the descriptor tell of the next arrival."""
    return bool(int(socket.get(zmq.EVENTS)) & _POLLIN)


def protect_server(socket: "zmq.Socket[bytes]", keys: Keys) -> None:
    """Only those who are let in may connect to this socket."""
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_PUBLICKEY, keys.public)
    socket.set(zmq.CURVE_SECRETKEY, keys.secret)
    socket.set(zmq.ZAP_DOMAIN, b"nfactor")


def protect_client(socket: "zmq.Socket[bytes]", keys: Keys, server: bytes) -> None:
    """This socket talks to the owner of the public key ``server``, and to nobody else."""
    if len(server) != _KEY_OCTETS:
        raise CallerError("connections are encrypted, and the address book has no public key for this peer")
    socket.set(zmq.CURVE_PUBLICKEY, keys.public)
    socket.set(zmq.CURVE_SECRETKEY, keys.secret)
    socket.set(zmq.CURVE_SERVERKEY, server)


def user_of(part: zmq.Frame) -> bytes:
    """The name that the connection of this message has proved; empty if it has proved none."""
    try:
        user = part.get("User-Id")
    except zmq.ZMQError:
        return b""
    return user.encode() if isinstance(user, str) else b""


async def answer_zap(
    context: "zmq.Context[zmq.Socket[bytes]]",
    allowed: Mapping[bytes, str],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer ZeroMQ's questions about public keys, for ever: 200 with the name, or 400."""
    socket = context.socket(zmq.REP)
    try:
        socket.bind(_ZAP_ENDPOINT)
        task_status.started()
        while True:
            # After each answer EVENTS is looked at again: sending may have swallowed the news of the next question.
            while has_input(socket):
                socket.send_multipart(_answer(socket.recv_multipart(), allowed))
            await trio.lowlevel.wait_readable(int(socket.get(zmq.FD)))
    finally:
        socket.close(0)


def _answer(question: list[bytes], allowed: Mapping[bytes, str]) -> list[bytes]:
    request = question[1] if len(question) > 1 else b""
    name = None
    if len(question) == _ZAP_PARTS and question[0] == _ZAP_VERSION and question[5] == b"CURVE":
        name = allowed.get(z85.encode(question[6]))
    if name is None:
        return [_ZAP_VERSION, request, b"400", b"this key is not known here", b"", b""]
    return [_ZAP_VERSION, request, b"200", b"OK", name.encode(), b""]
