"""Which engine runs a chain, what the log says of it, and chains of which a part is interpreted."""

from random import Random
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from nfactor.compiled import engines
from nfactor.compiled.dispatcher import CompiledDispatcher
from nfactor.compiled.engine import CompiledEngine
from nfactor.compiled.engines import open_engine, open_owners
from nfactor.dataplane import nf
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.engine import TimeOuts
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.errors import CallerError, NotCompilable
from nfactor.functions.firewall import Firewall, parse_rules
from nfactor.functions.monitor import Monitor
from nfactor.packet.classifier import FlowClassifier
from nfactor.testing.check_nf import drawn_frames
from nfactor.testing.packets import burst_of, udp
from nfactor.testing.twins import Twins


@nf.state
class Names:
    seen: nf.u32
    last: nf.i16


@nf.record
class Said:
    number: nf.u32


class Plain(nf.NF):
    """Something that only Python can do: a dict, strings, and an exception now and then."""

    State = Names
    records = (Said,)
    drop_reasons = ("some",)

    def __init__(self) -> None:
        self.names: dict[str, int] = {}

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        name = f"{pkt.source.hex()}:{pkt.source_port}:{pkt.vlan}"
        self.names[name] = self.names.get(name, 0) + 1
        fs.seen += self.names[name]
        fs.last = pkt.payload - pkt.start - 100 + pkt.direction
        pkt.emit(Said(fs.seen))
        if pkt.mark % 11 == 0:
            raise LookupError(name)
        if pkt.payload < pkt.payload_end:
            pkt.data[pkt.payload] ^= 1
        return nf.drop(0) if pkt.mark % 7 == 0 else nf.FORWARD

    def flow_expires(self, flow: nf.Flow, fs: Any) -> None:
        flow.emit(Said(fs.seen + 1000 * flow.initiator))


def classifier() -> FlowClassifier:
    return FlowClassifier("auto")


def test_a_chain_that_can_be_compiled_is_and_the_log_says_so() -> None:
    structlog.reset_defaults()
    with capture_logs() as logs:
        engine = open_engine("auto", Chain.of([Firewall(), Monitor()]), classifier())
    assert isinstance(engine, CompiledEngine)
    (said,) = logs
    assert ("compiled_engine", "firewall,monitor", "info") == (said["event"], said["chain"], said["log_level"])


def test_of_a_chain_with_one_plain_nf_only_that_one_is_interpreted_and_the_log_says_why() -> None:
    structlog.reset_defaults()
    engines._say.cache_clear()
    with capture_logs() as logs:
        engine = open_engine("auto", Chain.of([Monitor(), Plain()]), classifier())
    assert isinstance(engine, CompiledEngine)
    said = next(log for log in logs if log["event"] == "interpreted")
    assert ("plain", "warning") == (said["chain"], said["log_level"])
    assert "test_choice.py" in said["reason"]
    assert "an f-string cannot be compiled" in said["reason"]


def test_where_no_nf_can_be_compiled_the_reference_engine_runs_the_chain() -> None:
    structlog.reset_defaults()
    engines._say.cache_clear()
    with capture_logs() as logs:
        engine = open_engine("auto", Chain.of([Plain()]), classifier())
    assert isinstance(engine, ReferenceEngine)
    assert [log["event"] for log in logs] == ["reference_engine"]


def test_a_switch_has_the_table_that_goes_with_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_owners("reference", classifier()), Dispatcher)
    for kind in ("auto", "compiled"):
        assert isinstance(open_owners(kind, classifier()), CompiledDispatcher)
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert isinstance(open_owners("auto", classifier()), Dispatcher)
    with pytest.raises(CallerError, match=r"pip install 'nfactor\[compiled\]'"):
        open_owners("compiled", classifier())


def test_compiled_means_compiled() -> None:
    with pytest.raises(NotCompilable, match=r"an f-string cannot be compiled"):
        open_engine("compiled", Chain.of([Monitor(), Plain()]), classifier())


def test_without_llvm_auto_is_the_reference_engine_and_compiled_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert isinstance(open_engine("auto", Chain.of([Monitor()]), classifier()), ReferenceEngine)
    with pytest.raises(CallerError, match=r"pip install 'nfactor\[compiled\]'"):
        open_engine("compiled", Chain.of([Monitor()]), classifier())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_plain_nf_among_compiled_ones_means_what_it_means_among_plain_ones(place: int) -> None:
    def make() -> list[nf.NF]:
        others: list[nf.NF] = [Firewall(parse_rules(["deny udp from any to any port 53"])), Monitor()]
        return [*others[:place], Plain(), *others[place:]]

    twins = Twins(make, split=True, time_outs=TimeOuts(tcp_idle_s=5, udp_idle_s=2))
    for seed in range(5):
        twins.process(burst_of(drawn_frames(Random(seed), 150), start_s=30 * seed, step_s=0.3, first_mark=150 * seed))
        twins.check_all()
    keys, _ = twins.do("pick", 3)
    twins.do("depart", keys)
    twins.do("expire", twins.do("keys"))
    twins.check_all()
    assert "LookupError" in twins.compiled.statistics().nf_error_sample


def test_a_plain_nf_costs_its_own_calls_and_not_those_of_its_neighbours() -> None:
    """Counted, not timed: of a chain of three, one call into Python for each packet that reaches the plain one."""
    calls = 0

    class Counted(Plain):
        def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
            nonlocal calls
            calls += 1
            return nf.FORWARD

    chain = Chain.of([Firewall(parse_rules(["deny udp from any to any port 53"])), Counted(), Monitor()])
    engine = CompiledEngine(chain, classifier(), refusals={})
    engine.process(burst_of([udp("10.0.0.1", 1, "10.0.0.2", 53 + number % 2) for number in range(100)]))
    assert calls == 50
