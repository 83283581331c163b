"""Flow tables of a switch, for tests: of whichever kind the test is about."""

from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.owners import Owners
from nfactor.packet.classifier import FlowClassifier


def owners_of(flows_max: int) -> Owners:
    """A table; the fixture ``kind_of_table`` puts another function in place of this one."""
    return Dispatcher(FlowClassifier("auto"), flows_max=flows_max)
