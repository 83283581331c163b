"""Generated traffic: conversations that are real to who looks at them, sizes as published, all of it from a seed."""

import bisect
import itertools
import json
from pathlib import Path
from random import Random

import attrs
import numpy as np
import pytest
import trio

from nfactor.backends.memory import open_memory_network
from nfactor.cli.main import main
from nfactor.compiled.engines import open_engine
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.engine import Engine, TimeOuts
from nfactor.errors import CallerError
from nfactor.functions.firewall import Firewall, parse_rules
from nfactor.functions.http import Http, HttpRequest, HttpResponse
from nfactor.functions.ids import Alert, Ids, parse_rules as parse_ids_rules
from nfactor.functions.monitor import FlowRow, Monitor
from nfactor.packet.capture import open_capture
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.flow_key import FlowKey
from nfactor.testing import Simulation, simulate
from nfactor.testing.packets import internet_checksum
from nfactor.traffic import PROFILES, Load, generate, play, read_cdf
from nfactor.traffic.sizes import CAMPUS_TCP, CAMPUS_UDP, Fixed, LogNormals
from tests.captures import ABSENT, captures_root

ATTACKS = ["/etc/passwd", "boot.ini", "<script>", "OR '1'='1'", "() { |3a 3b|", "cmd.exe?"]
SMALL = Load(flows_per_s=200, seconds=2, http=0.5, attacks=0.5, duplicates=0.5, tcp_sizes=Fixed(20_000))


def engine_after(load: Load, *, packets_max: int | None = None) -> Engine:
    rules = parse_ids_rules(
        [f'alert tcp any any -> any 80 (content:"{text}"; sid:{sid};)' for sid, text in enumerate(ATTACKS, 1)]
    )
    chain = [Firewall(parse_rules(["deny any from any to any state invalid"])), Monitor(), Http(), Ids(rules)]
    engine = open_engine("auto", Chain.of(chain), FlowClassifier("auto"), time_outs=TimeOuts(never=True))
    for burst in generate(load, seed=3, packets_max=packets_max):
        assert set(engine.process(burst).tolist()) == {0}, "every TCP segment follows from those before it"
    engine.expire(engine.keys())
    return engine


def test_conversations_are_real_to_the_firewall_the_monitor_the_http_parser_and_the_ids() -> None:
    records = engine_after(SMALL).take_records()
    flows = [FlowKey.decode(row.key) for row in records if isinstance(row, FlowRow)]
    requests = [row for row in records if isinstance(row, HttpRequest)]
    responses = [row for row in records if isinstance(row, HttpResponse)]
    assert 300 < len(flows) < 500
    assert len(set(flows)) == len(flows)
    assert 0.1 < sum(flow.protocol == "udp" for flow in flows) / len(flows) < 0.3
    assert 0.04 < sum(":" in flow.a for flow in flows) / len(flows) < 0.16
    assert len(requests) == len(responses) > 100
    assert all(row.whole for row in responses)
    attacked = [row for row in requests if not row.uri.startswith(b"/item/")]
    alerts = [row for row in records if isinstance(row, Alert)]
    assert 20 < len(attacked) == len(alerts)


def test_the_same_seed_gives_the_same_octets_and_another_seed_others() -> None:
    def octets(seed: int) -> bytes:
        return b"".join(burst.data.tobytes() + burst.times.tobytes() for burst in generate(SMALL, seed=seed))

    assert octets(1) == octets(1) != octets(2)


def test_packets_come_in_the_order_of_time_and_no_more_than_asked_for() -> None:
    bursts = list(generate(SMALL, packets_max=3000))
    times = np.concatenate([burst.times for burst in bursts])
    marks = np.concatenate([burst.marks for burst in bursts])
    assert (np.diff(times) >= 0).all()
    assert marks.tolist() == list(range(1, 3001))


def test_checksums_are_right() -> None:
    for burst in generate(SMALL, packets_max=200):
        for frame in burst.frames():
            if frame[28:30] == b"\x08\x00":
                assert internet_checksum(frame[30:50]) == 0, "of the IPv4 header"
                transport = frame[50:]
                pseudo = frame[42:50] + bytes((0, frame[39])) + len(transport).to_bytes(2, "big")
                assert internet_checksum(pseudo + transport) == 0


def test_content_repeats_as_often_as_asked() -> None:
    def share(duplicates: float) -> float:
        load = Load(seconds=1, udp=0.0, duplicates=duplicates, tcp_sizes=Fixed(14_480))
        payloads = [frame[70:] for burst in generate(load) for frame in burst.frames() if len(frame) > 1400]
        return 1 - len({payload[-1400:] for payload in payloads}) / len(payloads)

    assert share(0.0) == 0.0
    assert 0.8 < share(0.9) < 0.95


@pytest.mark.parametrize(
    ("name", "packets", "gap_s"),
    [("paper-throughput", 100, 0.1), ("paper-migration", 200, 0.05), ("paper-scaling", 1200, 0.05)],
)
def test_the_papers_loads_are_64_octets_a_packet_at_its_rates(name: str, packets: int, gap_s: float) -> None:
    load = attrs.evolve(PROFILES[name], flows_per_s=20, seconds=1)
    lengths = {length for burst in generate(load) for length in burst.wire_lengths.tolist()}
    assert lengths == {64, 84}, "IPv6 headers are 20 octets longer"
    by_flow = flow_times(load)
    assert {packets} == {len(those) for those in by_flow}
    assert all(abs(np.diff(those) / 1e9 - gap_s).max() < 1e-6 for those in by_flow)


def flow_times(load: Load) -> list[list[int]]:
    """The times of each flow's packets."""
    engine = open_engine("auto", Chain.of([Monitor()]), FlowClassifier("auto"), time_outs=TimeOuts(never=True))
    times: dict[bytes | None, list[int]] = {}
    for burst in generate(load):
        engine.process(burst)
        for key, time in zip(engine.changes.keys_of(engine.touched), burst.times.tolist(), strict=True):
            times.setdefault(key, []).append(time)
    return list(times.values())


def test_imix_is_seven_small_four_middling_and_one_large() -> None:
    lengths = np.concatenate([b.wire_lengths for b in generate(PROFILES["imix"], packets_max=12_000)])
    share = [(abs(lengths.astype(int) - size) <= 24).mean() for size in (64, 594, 1514)]
    assert [7 / 12, 4 / 12, 1 / 12] == pytest.approx(share, abs=0.02)


@pytest.mark.skipif(captures_root() is None, reason=ABSENT)
@pytest.mark.parametrize(("name", "sizes"), [("tcp", CAMPUS_TCP), ("udp", CAMPUS_UDP)])
def test_campus_sizes_are_those_of_the_published_mixture(name: str, sizes: LogNormals) -> None:
    root = captures_root()
    assert root is not None
    mixture = json.loads((root / "traffic_model" / f"agh_2015_mix_{name}_size.json").read_text())["mix"]
    published = LogNormals(tuple((weight, p[0], p[2]) for weight, kind, p in mixture if kind == "lognorm"))
    drawn = ((sizes, Random(1)), (published, Random(2)))
    ours, theirs = (sorted(some.draw(rng) for _ in range(20_000)) for some, rng in drawn)
    for share in (0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
        at = int(share * 20_000)
        assert ours[at] == pytest.approx(theirs[at], rel=0.25)


@pytest.mark.skipif(captures_root() is None, reason=ABSENT)
@pytest.mark.parametrize("name", ["DCTCP_CDF.txt", "VL2_CDF.txt", "FB_CDF.txt"])
def test_a_published_distribution_is_drawn_as_its_file_says(name: str) -> None:
    root = captures_root()
    assert root is not None
    sizes, rng = read_cdf(root / "traffic_model" / name), Random(5)
    drawn = sorted(sizes.draw(rng) for _ in range(20_000))
    for octets, share in itertools.islice(zip(sizes.octets, sizes.shares, strict=True), 1, None):
        assert bisect.bisect_right(drawn, octets) / len(drawn) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 0\n2 x\n", r":2: a line is"),
        ("1 0\n2\n", r":2: a line is"),
        ("5 0.5\n4 1\n", r":2: neither octets nor"),
        ("1 0.5\n2 0.4\n", r":2: neither octets nor"),
        ("1 0.5\n2 2\n", r":2: octets from 0 on"),
        ("1 nan\n", r":1: octets from 0 on"),
        ("1 0.5\n", "the last probability must be 1"),
        ("", "the last probability must be 1"),
    ],
)
def test_a_bad_distribution_is_refused_with_its_line(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "cdf").write_text(text)
    with pytest.raises(CallerError, match=problem):
        read_cdf(tmp_path / "cdf")


def test_the_command_writes_a_capture_that_replays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "made.pcap")
    assert main(["generate", out, "--flows-per-s", "50", "--seconds", "1", "--http", "1", "--packets", "500"]) == 0
    assert "500 packets" in capsys.readouterr().out
    with open_capture(out) as reader:
        assert sum(len(burst) for burst in iter(lambda: reader.read_burst(100), None)) == 500
    assert main(["replay", out, "--runtimes", "2", "--migrate-every", "100"]) == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--profile", "home"], "--profile home: there are campus"),
        (["--http", "2"], "http 2.0: a share is from 0 to 1"),
        (["--seconds", "0"], "seconds 0.0: must be more than 0"),
        (["--seconds", "inf"], "must be a finite number"),
        (["--udp", "some"], "--udp some: must be a number"),
        (["--flow-sizes", "/no/such/file"], "cannot read the flow sizes"),
    ],
)
def test_a_callers_mistake_gets_one_line(
    options: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(tmp_path / "out.pcap"), *options]) == 2
    assert problem in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_port_gets_the_packets_at_the_pace_of_their_times() -> None:
    async def run(simulation: Simulation) -> tuple[int, int, float]:
        async with open_memory_network(rng=simulation.random("network")) as network:
            ends = [network.port(bytes((2, 0, 0, 0, 0, n)), node=f"n{n}") for n in (1, 2)]
            load = Load(flows_per_s=40, seconds=2, tcp_sizes=Fixed(2000), udp_sizes=Fixed(200))
            begin = trio.current_time()
            sent = await play(generate(load), ends[0], target=ends[1].address, speed=2.0)
            took = trio.current_time() - begin
            await trio.sleep(1)
            came = 0
            while (burst := ends[1].receive()) is not None:
                came += len(burst)
            return sent, came, took

    sent, came, took = simulate(run, seed=1).value
    assert sent == came > 300
    assert 0.2 < took < 2.0
