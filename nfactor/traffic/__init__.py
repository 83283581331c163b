"""Traffic to try things with: conversations drawn from a seed, as bursts in the order of time.

``generate(Load(...))`` gives bursts; ``nfactor generate`` writes them to a capture; ``play`` sends them to a port.
"""

from nfactor.traffic.generator import Load as Load, generate as generate, play as play
from nfactor.traffic.profiles import PROFILES as PROFILES
from nfactor.traffic.sizes import read_cdf as read_cdf
