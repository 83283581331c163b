"""From options to what is started: the same in this process and in those of ``--world processes``."""

from collections.abc import Callable

from nfactor.cli.options import ReplayOptions
from nfactor.cluster.membership import DEAD_AFTER_S
from nfactor.cluster.plan import ClusterPlan
from nfactor.compiled.engines import open_engine, open_owners
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.engine import TimeOuts
from nfactor.packet.classifier import FlowClassifier

BUSY_DEAD_AFTER_S = 10.0
"""In processes that share a few cores and in which nothing is to be killed, a node that is silent is only busy."""


def plan_of(options: ReplayOptions, make_chain: Callable[[], Chain]) -> ClusterPlan:
    """The cluster that those options ask for. ``make_chain`` makes the chain of one runtime."""
    time_outs = TimeOuts(never=options.five_tuple)

    def classifier() -> FlowClassifier:
        return FlowClassifier("five-tuple" if options.five_tuple else "auto")

    patient = options.processes and not options.kill_runtime_at
    return ClusterPlan(
        runtimes=options.runtimes,
        switches=options.switches,
        engine=lambda: open_engine(
            options.engine,
            make_chain(),
            classifier(),
            flows_max=options.flows_max,
            time_outs=time_outs,
            common_clock=True,
        ),
        owners=lambda: open_owners(options.engine, classifier(), flows_max=options.flows_max),
        records=tuple(cls for function in make_chain().functions for cls in function.records),
        replication=options.replication,
        domains=options.domains,
        launches=options.launch,
        threaded=options.threaded,
        dead_after_s=BUSY_DEAD_AFTER_S if patient else DEAD_AFTER_S,
    )
