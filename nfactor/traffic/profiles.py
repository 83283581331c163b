"""Loads by name: what the command line calls them."""

from typing import Final

from nfactor.traffic.generator import Load
from nfactor.traffic.sizes import CAMPUS_TCP, CAMPUS_UDP

PROFILES: Final[dict[str, Load]] = {
    "campus": Load(tcp_sizes=CAMPUS_TCP, udp_sizes=CAMPUS_UDP, http=0.3),
    "imix": Load(udp=1.0, udp_sizes=CAMPUS_UDP),
    "paper-throughput": Load(steady_packets=100, gap_s=0.1),
    "paper-migration": Load(steady_packets=200, gap_s=0.05),
    "paper-scaling": Load(steady_packets=1200, gap_s=0.05),
}
"""``campus``: TCP, HTTP and UDP with flow sizes as measured; ``imix``: UDP of IMIX sizes; ``paper-…``: 64 octets a
packet, 10 packets a second for 10 s, 20 for 10 s, and 20 for 60 s (the paper's figures 5, 6 and 8)."""
