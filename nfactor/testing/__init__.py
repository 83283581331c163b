"""What tests need, ours and other people's: deterministic runs and the suites that a backend must pass."""

from nfactor.testing.chain_run import ChainRun as ChainRun, run_chain as run_chain
from nfactor.testing.check_nf import check_nf as check_nf
from nfactor.testing.conformance import check_port as check_port, check_transport as check_transport
from nfactor.testing.nodes import SimulatedNodes as SimulatedNodes, open_nodes as open_nodes
from nfactor.testing.simulate import (
    Simulation as Simulation,
    SimulationResult as SimulationResult,
    simulate as simulate,
)
