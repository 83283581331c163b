"""``nfactor generate``: writes a capture of conversations drawn from a seed."""

import math

import attrs
from rich.console import Console

from nfactor.cli.options import GenerateOptions
from nfactor.errors import CallerError
from nfactor.packet.capture import CaptureWriter
from nfactor.traffic import PROFILES, Load, generate, read_cdf


def generate_capture(options: GenerateOptions) -> int:
    """The command. Returns the exit status."""
    load: Load = PROFILES[options.profile]
    for name, value in options.changes.items():
        if not math.isfinite(value):
            raise CallerError(f"--{name.replace('_', '-')} {value}: must be a finite number")
    load = attrs.evolve(load, **options.changes)  # type: ignore[arg-type]
    if options.flow_sizes is not None:
        load = attrs.evolve(load, tcp_sizes=read_cdf(options.flow_sizes))
    packets, last_ns = 0, 0
    with CaptureWriter(options.out, nanoseconds=True) as writer:
        for burst in generate(load, seed=options.seed, packets_max=options.packets_max):
            writer.write(burst)
            packets, last_ns = packets + len(burst), int(burst.times[-1])
    Console(soft_wrap=True, highlight=False).print(f"{options.out}: {packets:,} packets over {last_ns / 1e9:.1f} s")
    return 0
