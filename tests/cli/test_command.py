"""The ``nfactor`` command: what bad input gets, what good input leaves behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nfactor.cli.main import main
from nfactor.packet.capture import CaptureWriter, open_capture
from nfactor.testing import packets

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "nfactor" / "cli" / "captures" / "demo.pcap"


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Three packets of two flows."""
    path = tmp_path / "three.pcap"
    frames = [packets.udp("10.0.0.1", 1, "10.0.0.2", 53), packets.tcp("10.0.0.3", 2, "10.0.0.2", 80)]
    with CaptureWriter(path) as writer:
        writer.write(packets.burst_of([*frames, frames[0]], step_s=0.5))
    return path


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run with a caller's mistake: exit status 2 and one line on stderr, which is returned."""
    assert main([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(r"nfactor: [^\n]+\n", shown.err)
    return shown.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "COMMAND"),
        (["reply"], "invalid choice"),
        (["drain"], "not in this version yet"),
        (["replay"], "CAPTURE"),
        (["replay", "CAP", "--chain", "firewall,nonsense"], "'nonsense' is no network function"),
        (["replay", "CAP", "--chain", ""], "'' is no network function"),
        (["replay", "CAP", "--chain", "firewall,nat"], "nat needs rules"),
        (["replay", "CAP", "--chain", "monitor,monitor"], "stands twice"),
        (["replay", "CAP", "--chain", "no.such:Thing"], "cannot import 'no.such'"),
        (["replay", "CAP", "--chain", "json:JSONDecoder"], "no network function 'JSONDecoder'"),
        (["replay", "CAP", "--runtimes", "0"], "--runtimes 0: must be a whole number from 1"),
        (["replay", "CAP", "--runtimes", "two"], "--runtimes two"),
        (["replay", "CAP", "--migrate-every", "-1"], "--migrate-every -1"),
        (["replay", "CAP", "--migrate-every", "50"], "nowhere to migrate to"),
        (["replay", "CAP", "--flow-key", "mac"], "auto or five-tuple"),
        (["replay", "CAP", "--switches", "17"], "--switches 17"),
        (["replay", "CAP", "--domains", "a,,b", "--runtimes", "3"], "--domains a,,b"),
        (["replay", "CAP", "--domains", "a,b", "--runtimes", "3"], "2 failure domains of --runtimes 3"),
        (
            ["replay", "CAP", "--replication", "often"],
            "replication often: must be none, strict, strict-hold, every=K or every=K/Tms",
        ),
        (
            ["replay", "CAP", "--replication", "every=0"],
            "K packets, from 1 on and of up to 9 digits, and T milliseconds, from 10 to 1000",
        ),
        (["replay", "CAP", "--kill-runtime-at", "5"], "nobody would be left"),
        (["replay", "CAP", "--replication", "strict-hold"], "--runtimes 2 here: packets would wait"),
        (
            ["replay", "CAP", "--replication", "strict-hold", "--runtimes", "2", "--kill-runtime-at", "5"],
            "--runtimes 3 here: packets would wait",
        ),
        (["replay", "CAP", "--engine", "jit"], "--engine jit: auto, reference or compiled"),
        (["replay", "CAP", "--worker", "bee"], "--worker bee: loop or thread"),
        (["replay", "CAP", "--worker", "thread"], "--worker thread needs --world processes"),
        (["replay", "CAP", "--world", "moon"], "--world moon: memory or processes"),
        (["replay", "CAP", "--config", "x.toml"], "--config x.toml: not in this version yet"),
        (["replay", "CAP", "--rules", "firewall"], "write NF=FILE"),
        (["replay", "CAP", "--rules", "nat=x"], "'nat' is not in the chain"),
        (["replay", "CAP", "--rules", "monitor=x"], "takes no rules"),
        (["replay", "CAP", "--rules", "firewall=/no/such/file"], "/no/such/file: cannot read the rules"),
        (["replay", "CAP", "--out", "/no/such/folder/out.pcap"], "/no/such/folder"),
        (["replay", "CAP", "--report", "/no/such/folder/r.json"], "/no/such/folder"),
        (["replay", "CAP", "--out", "same", "--report", "same"], "are both same"),
        (["replay", "CAP", "--colour", "red"], "unrecognized arguments"),
        (["replay", "/no/such/capture.pcap"], "/no/such/capture.pcap: cannot be opened"),
        (["replay", "CAP", "/no/such/capture.pcap"], "/no/such/capture.pcap"),
    ],
)
def test_a_callers_mistake_gets_one_line_and_status_2(
    arguments: list[str], problem: str, capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(capture.parent.iterdir())
    line = refused(capsys, *(str(capture) if word == "CAP" else word for word in arguments))
    assert problem in line
    assert sorted(capture.parent.iterdir()) == before, "nothing half-written"


def test_a_bad_rule_is_named_by_file_and_line(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = capture.parent / "rules.txt"
    rules.write_text("allow tcp from any to any\ndeny tcp from any\n")
    assert f"{rules}:2: " in refused(capsys, "replay", capture, "--rules", f"firewall={rules}")
    rules.write_bytes(b"\xff\xfe")
    assert "no UTF-8" in refused(capsys, "replay", capture, "--rules", f"firewall={rules}")


def test_a_keyword_that_the_ids_does_not_know_is_refused_by_its_line(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = capture.parent / "ids.rules"
    rules.write_text('alert tcp any any -> any any (sid:1;)\nalert tcp any any -> any any (pcre:"/x/"; sid:2;)\n')
    line = refused(capsys, "replay", capture, "--chain", "ids", "--rules", f"ids={rules}")
    assert f"{rules}:2: " in line
    assert "pcre" in line


def test_all_five_functions_tell_what_they_found_in_the_recorded_capture(tmp_path: Path) -> None:
    rules, report = tmp_path / "ids.rules", tmp_path / "report.json"
    rules.write_text('alert tcp any any -> any any (content:"/etc/passwd"; flow:to_server,established; sid:7;)\n')
    chain = ("--chain", "firewall,monitor,balancer,http,ids", "--rules", f"ids={rules}")
    reports = []
    for options in ((), ("--runtimes", "3", "--migrate-every", "200")):
        assert main(["replay", str(DEMO), *chain, "--report", str(report), *options]) == 0
        reports.append(json.loads(report.read_text()))
    alone, moved = reports
    assert alone["alerts"] == moved["alerts"] == [{"sid": 7, "count": 2}]
    assert alone["http"] == moved["http"]
    assert len(alone["http"]["requests"]) > 1000
    assert moved["migrations"]["completed"] > 20


def test_what_is_no_capture_is_refused_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (b"", b"hello, this is text\n" * 9, DEMO.read_bytes()[:20]):
        path = tmp_path / "bad.pcap"
        path.write_bytes(content)
        report = tmp_path / "report.json"
        report.write_text("the one from yesterday")
        assert str(path) in refused(capsys, "replay", path, "--report", report, "--out", tmp_path / "out.pcap")
        assert report.read_text() == "the one from yesterday"
        assert sorted(item.name for item in tmp_path.iterdir()) == ["bad.pcap", "report.json"]


def test_a_capture_cut_short_is_processed_up_to_the_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, report = tmp_path / "cut.pcap", tmp_path / "report.json"
    path.write_bytes(DEMO.read_bytes()[:100_000])
    assert main(["replay", str(path), "--report", str(report)]) == 0
    body = json.loads(report.read_text())
    assert body["truncated"] is True
    assert 100 < body["packets"]["in"] == body["packets"]["out"]
    assert f"warning: {path}" in capsys.readouterr().err


def test_the_report_has_every_section_of_the_design(capture: Path) -> None:
    report = capture.parent / "report.json"
    assert main(["replay", str(capture), "--report", str(report)]) == 0
    text = report.read_text()
    body = json.loads(text)
    assert body["flows"] == [
        {"protocol": "udp", "a": "10.0.0.1", "a_port": 1, "b": "10.0.0.2", "b_port": 53, "packets_ab": 2}
        | {"packets_ba": 0, "octets_ab": 84, "octets_ba": 0, "runtime": "runtime-0"},
        {"protocol": "tcp", "a": "10.0.0.3", "a_port": 2, "b": "10.0.0.2", "b_port": 80, "packets_ab": 1}
        | {"packets_ba": 0, "octets_ab": 54, "octets_ba": 0, "runtime": "runtime-0"},
    ]
    assert body["packets"] == {"in": 3, "created": 0, "out": 3, "absorbed": 0, "dropped": {}, "buffered": 0}
    assert body["octets"] == {"in": 138, "out": 138}
    assert (0, {}, 0, False) == (
        body["migrations"]["flows"], body["lost_with_node"], body["in_doubt"], body["truncated"],
    )  # fmt: skip
    assert list(body) == sorted(body), "keys are sorted"


def test_without_a_monitor_there_is_no_flows_section(capture: Path) -> None:
    report = capture.parent / "report.json"
    assert main(["replay", str(capture), "--chain", "firewall", "--report", str(report)]) == 0
    assert "flows" not in json.loads(report.read_text())


def test_several_captures_are_one_stream(capture: Path) -> None:
    report, out = capture.parent / "report.json", capture.parent / "out.pcap"
    assert main(["replay", str(capture), str(capture), "--report", str(report), "--out", str(out)]) == 0
    body = json.loads(report.read_text())
    assert [4, 2] == [row["packets_ab"] for row in body["flows"]]
    with open_capture(out) as reader:
        burst = reader.read_burst(100)
    assert burst is not None
    assert len(burst) == 6


def test_output_is_byte_for_byte_what_came_in(tmp_path: Path) -> None:
    out = tmp_path / "out.pcap"
    assert main(["replay", str(DEMO), "--out", str(out)]) == 0
    header = 24  # holds a snap length, which is the writer's own
    assert out.read_bytes()[header:] == DEMO.read_bytes()[header:]


def test_the_firewall_drops_by_its_rules(capture: Path) -> None:
    rules, report = capture.parent / "rules", capture.parent / "report.json"
    rules.write_text("deny udp from any to any port 53\n")
    assert main(["replay", str(capture), "--rules", f"firewall={rules}", "--report", str(report)]) == 0
    assert json.loads(report.read_text())["packets"]["dropped"] == {"firewall_rule": 2}


def test_a_network_function_of_ones_own_runs_by_its_name(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (capture.parent / "own_nf.py").write_text(
        "from nfactor import nf\n"
        "class NoTcp(nf.NF):\n"
        "    def process_pkt(self, pkt, fs):\n"
        "        return nf.DROP if pkt.protocol == 6 else nf.FORWARD\n"
    )
    monkeypatch.chdir(capture.parent)
    report = capture.parent / "report.json"
    assert main(["replay", str(capture), "--chain", "own_nf:NoTcp,monitor", "--report", str(report)]) == 0
    assert json.loads(report.read_text())["packets"]["dropped"] == {"notcp": 1}


BAD_NFS = """
from nfactor import nf

class Expires(nf.NF):
    def process_pkt(self, pkt, fs):
        return nf.FORWARD
    def flow_expires(self, flow, fs):
        raise LookupError("not today")

class Forgets(nf.NF):
    def process_pkt(self, pkt, fs):
        pass

@nf.record
class Odd:
    number: nf.u8

class Secret(nf.NF):
    def process_pkt(self, pkt, fs):
        pkt.emit(Odd(number=1))
        return nf.FORWARD
"""


def test_what_goes_wrong_in_a_network_function_is_shown(
    capture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (capture.parent / "bad_nfs.py").write_text(BAD_NFS)
    monkeypatch.chdir(capture.parent)
    assert main(["replay", str(capture), "--chain", "monitor,bad_nfs:Expires", "--report", "report.json"]) == 0
    shown = capsys.readouterr().out
    assert "the network function expires raised 2 exceptions" in shown
    assert "LookupError: not today" in shown
    assert len(json.loads((capture.parent / "report.json").read_text())["flows"]) == 2, "other functions lose nothing"
    assert main(["replay", str(capture), "--chain", "bad_nfs:Forgets"]) == 0
    assert "did you forget to return one?" in capsys.readouterr().out


def test_a_record_that_no_function_declares_fails_the_run(
    capture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (capture.parent / "bad_nfs.py").write_text(BAD_NFS)
    monkeypatch.chdir(capture.parent)
    assert main(["replay", str(capture), "--chain", "bad_nfs:Secret", "--report", "report.json"]) == 1
    assert "must name the classes that it emits in its `records`" in capsys.readouterr().err
    assert not (capture.parent / "report.json").exists()


@pytest.mark.parametrize("option", ["--out", "--report"])
def test_no_output_replaces_what_is_read(option: str, capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = capture.read_bytes()
    rules = capture.parent / "rules"
    rules.write_text("default allow\n")
    assert "is also read, as a capture" in refused(capsys, "replay", capture, option, capture)
    link = capture.parent / "link"
    link.symlink_to(capture)
    assert "is also read, as a capture" in refused(capsys, "replay", capture, option, link)
    assert "is also read, as rules" in refused(capsys, "replay", capture, "--rules", f"firewall={rules}", option, rules)
    assert before == capture.read_bytes()


def test_a_full_flow_table_refuses_new_flows_and_counts(capture: Path) -> None:
    report = capture.parent / "report.json"
    assert main(["replay", str(capture), "--flows-max", "1", "--report", str(report)]) == 0
    assert json.loads(report.read_text())["packets"]["dropped"] == {"flow_table_full": 1}


def test_the_demo_tells_the_whole_story(capsys: pytest.CaptureFixture[str]) -> None:
    """And it ends as the README says: its lines are compared, however they are broken; the table between is not."""
    assert main(["demo"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    told = (REPOSITORY / "README.md").read_text("utf-8").split("The demo ends like this")[1].split("`pip install")[0]
    before, after = (" ".join(part.split()) for part in re.split(r"^    (?=flows: )", told, flags=re.MULTILINE))
    assert before[before.index("packet ") :] in shown
    assert shown.endswith(after)
    assert shown.count(" flows moved from runtime-") > 8
    (killed,) = re.findall(r"(runtime-\d) is killed with \d+ flows and \d+ packets in flight", shown)
    assert re.search(rf"packet [\d,]+: [1-9]\d* flows of {killed} go on at their replicas", shown)
    (lost,) = re.findall(rf"{killed} died: \d+ flows recovered \d+\.\d+ s .*?; (\d+) packets died with it", shown)
    assert re.search(r"unprotected: [1-9][\d,]+ packets went out while there was no replica, for \d", shown)
    assert re.search(r"HTTP: 1,\d{3} requests", shown)
    assert [f"rule {sid} alerted 2 times" in shown for sid in range(1000001, 1000005)] == [True] * 4
    assert "dropped as firewall_rule: " in shown
    sums = r"accounting: ([\d,]+) in \+ 0 created = ([\d,]+) out "
    sums += r"\+ 0 absorbed \+ ([\d,]+) dropped \+ 0 buffered \+ ([\d,]+) lost"
    (came, *went) = (int(number.replace(",", "")) for number in re.findall(sums, shown)[0])
    assert came == sum(went)
    assert went[-1] == int(lost) > 0


def test_a_kill_that_never_comes_is_said(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(capture), "--runtimes", "2", "--kill-runtime-at", "1000000"]) == 0
    assert "nothing was killed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_second_run_gives_the_same_report_octet_for_octet(tmp_path: Path) -> None:
    reports = []
    for hash_seed in ("1", "2"):
        report = tmp_path / hash_seed
        command = [sys.executable, "-m", "nfactor", "replay", str(DEMO), "--runtimes", "3", "--migrate-every", "50"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([*command, "--report", str(report)], check=True, capture_output=True, env=environment)
        reports.append(report.read_bytes())
    assert reports[0] == reports[1]


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_behind_and_no_traceback(tmp_path: Path) -> None:
    large = tmp_path / "large.pcap"
    content = DEMO.read_bytes()
    large.write_bytes(content + content[24:] * 20)
    command = [sys.executable, "-m", "nfactor", "replay", str(large), "--out", str(tmp_path / "out.pcap")]
    process = subprocess.Popen([*command, "--report", str(tmp_path / "r")], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not any(".partial" in item.name and item.stat().st_size > 1e6 for item in tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert (130, "nfactor: interrupted\n") == (process.returncode, error)
    assert [item.name for item in tmp_path.iterdir()] == ["large.pcap"]


@pytest.mark.slow
def test_a_capture_streams_through_in_bounded_memory(tmp_path: Path) -> None:
    """Twenty times the capture takes hardly more memory than the capture itself."""
    content, sizes = DEMO.read_bytes(), []
    program = "import resource, sys; from nfactor.cli.main import main; main(sys.argv[1:]); " + (
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    for times in (1, 20):
        path = tmp_path / "capture.pcap"
        path.write_bytes(content + content[24:] * (times - 1))
        command = [sys.executable, "-c", program, "replay", str(path), "--out", str(tmp_path / "out")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        sizes.append(int(done.stderr.split()[-1]))
    assert sizes[1] < sizes[0] + 40_000, "in KiB; the capture has grown by 53,000"


def test_a_runtime_is_started_in_the_place_of_one_that_was_killed(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--runtimes", "2", "--domains", "a,b", "--replication", "strict-hold", "--kill-runtime-at", "3000"]
    assert main(["replay", str(DEMO), "--chain", "firewall,monitor", *options, "--launch"]) == 0
    shown = capsys.readouterr().out
    assert "runtime-2" in shown
    assert "+ 0 dropped + 0 buffered" in shown, "what waited for a replica has gone on"
