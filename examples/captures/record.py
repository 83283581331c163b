"""Record the capture that ``nfactor demo`` plays: real kernel TCP stacks talking between network namespaces.

Run as root, from anywhere::

    python3 examples/captures/record.py nfactor/cli/captures/demo.pcap

It needs Linux with MPTCP, Python >= 3.11 and ``ip`` and ``tc`` (Debian: ``iproute2``), nothing else::

    namespace "clients"                              namespace "servers"
    +--------------------+                           +--------------------+
    | 20 addresses  nfc0 |==== veth pair 0, shaped ==| nfs0  2 addresses  |
    | 1 address     nfc1 |==== veth pair 1, shaped ==| nfs1  1 address    |
    +--------------------+                           +--------------------+
       ^ recorder.py listens on nfc0 and nfc1: one file, in order of time

Each namespace is a host of its own: the addresses (documentation ranges) exist only inside, and no packet leaves the
two virtual cables. Pair 1 is there for the second sub-flow of MPTCP connections, and both are shaped with ``tc tbf``
because an unshaped link is so fast that MPTCP never has a reason to use the second one. Segmentation offloads are
switched off, so that every recorded frame is a packet as a wire would carry it, with its checksums filled in.

All is bounded: the clients' jobs are a fixed list drawn with a fixed seed, every role ends by itself after
``SECONDS_MAX``, and the namespaces are deleted at the end, whatever happens.
"""

import argparse
import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import summary

HERE = Path(__file__).resolve().parent
SECONDS_MAX = 55.0
SERVERS_NS, CLIENTS_NS = f"nfactor-servers-{os.getpid()}", f"nfactor-clients-{os.getpid()}"

V4 = ("192.0.2", "198.51.100")
V6 = ("2001:db8:0", "2001:db8:1")
CLIENT_HOSTS = range(101, 121)
SERVER_HOSTS = range(1, 3)
RATE, BURST, LATENCY = "12mbit", "16kb", "300ms"

# The ethtool commands that switch features off: receive and transmit checksums, segmentation of TCP and in general,
# and the merging of received segments. An old, stable ABI (linux/ethtool.h), so no need for the ethtool program.
SIOCETHTOOL = 0x8946
FEATURES_OFF = {"tx checksum": 0x17, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}


def run(command: str) -> None:
    """Run one command (words separated by blanks); say which one failed and how."""
    done = subprocess.run(command.split(), check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"record: `{command}` failed: {done.stderr.strip()}")


def features_off(interface: str) -> None:
    """Switch offloads off on an interface of the namespace that the process is in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for feature, number in FEATURES_OFF.items():
            value = (ctypes.c_uint32 * 2)(number, 0)  # struct ethtool_value: the command, and 0 for off
            request = struct.pack("16sP", interface.encode(), ctypes.addressof(value))
            try:
                fcntl.ioctl(control, SIOCETHTOOL, request)
            except OSError as error:
                raise SystemExit(f"record: cannot switch {feature} off on {interface}: {error}") from error


def in_namespace(namespace: str, command: str) -> None:
    """Run one command inside a namespace."""
    run(f"ip netns exec {namespace} {command}")


def bring_up(namespace: str, side: str, hosts: tuple[range, range]) -> None:
    """Give one side's two interfaces their addresses, queues and features."""
    in_namespace(namespace, "ip link set lo up")
    for link in (0, 1):
        name = f"nf{side}{link}"
        for host in hosts[link]:
            in_namespace(namespace, f"ip address add {V4[link]}.{host}/24 dev {name}")
            in_namespace(namespace, f"ip address add {V6[link]}::{host:x}/64 dev {name} nodad")
        in_namespace(namespace, f"{sys.executable} {__file__} --features-off {name}")
        in_namespace(namespace, f"ip link set {name} up")
        in_namespace(namespace, f"tc qdisc add dev {name} root tbf rate {RATE} burst {BURST} latency {LATENCY}")
    in_namespace(namespace, "sysctl -q net.mptcp.enabled=1")
    in_namespace(namespace, "ip mptcp limits set subflows 2 add_addr_accepted 2")


@contextlib.contextmanager
def namespaces() -> Iterator[None]:
    """Two hosts and the two cables between them, for the life of the block."""
    try:
        for namespace in (SERVERS_NS, CLIENTS_NS):
            run(f"ip netns add {namespace}")
        for link in (0, 1):
            ends = [
                f"nf{side}{link} address 02:00:00:00:0{link}:0{number} netns" for number, side in enumerate("cs", 1)
            ]
            run(f"ip link add {ends[0]} {CLIENTS_NS} type veth peer name {ends[1]} {SERVERS_NS}")
        bring_up(CLIENTS_NS, "c", (CLIENT_HOSTS, range(101, 102)))
        bring_up(SERVERS_NS, "s", (SERVER_HOSTS, range(1, 2)))
        # The servers announce their second address (ADD_ADDR), and the clients open the second sub-flow to it.
        in_namespace(SERVERS_NS, f"ip mptcp endpoint add {V4[1]}.1 dev nfs1 signal")
        yield
    finally:
        for namespace in (SERVERS_NS, CLIENTS_NS):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


@contextlib.contextmanager
def role(namespace: str, script: str, *arguments: str) -> Iterator[None]:
    """A script running inside a namespace: entered once it says that it is ready, ended by closing its input."""
    command = ["ip", "netns", "exec", namespace, sys.executable, str(HERE / script), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != "ready":
            raise SystemExit(f"record: {script} did not start")
        yield
        process.stdin.close()
        if process.wait(timeout=10):
            raise SystemExit(f"record: {script} failed with exit status {process.returncode}")
    finally:
        process.kill()
        process.wait()


def record(out: Path) -> None:
    """Make the hosts, record while the clients do their jobs, and clean up."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        namespaces(),
        role(SERVERS_NS, "servers.py"),
        role(CLIENTS_NS, "recorder.py", str(out), "nfc0", "nfc1"),
    ):
        clients = ["ip", "netns", "exec", CLIENTS_NS, sys.executable, str(HERE / "clients.py")]
        subprocess.run(clients, check=True, timeout=SECONDS_MAX)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Record nfactor's demo capture between network namespaces (as root).")
    parser.add_argument("out", type=Path, nargs="?", help="the pcap file to write")
    parser.add_argument("--features-off", metavar="INTERFACE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.features_off:
        features_off(arguments.features_off)
    elif arguments.out is None:
        parser.error("say where to write the capture")
    elif os.geteuid():
        parser.error("network namespaces need root")
    else:
        record(arguments.out.resolve())
        print(summary.describe(arguments.out))


if __name__ == "__main__":
    main()
