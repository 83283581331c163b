"""What tests need, ours and other people's: deterministic runs and the suites that a backend must pass."""

from nfactor.testing.conformance import check_port as check_port
from nfactor.testing.conformance import check_transport as check_transport
from nfactor.testing.simulate import Simulation as Simulation
from nfactor.testing.simulate import SimulationResult as SimulationResult
from nfactor.testing.simulate import simulate as simulate
