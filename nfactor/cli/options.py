"""The options of the command line: what can be said, and one clear line for what cannot.

An option that DESIGN section 12 promises and that this version does not have yet is taken, so that the answer to it can
say so, instead of "unrecognised".
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import attrs

from nfactor.compiled.engines import ENGINES, EngineKind
from nfactor.errors import CallerError
from nfactor.protocols.replication import EVERY_MS, Kind, Mode

FLOWS_LIMIT = 1 << 31
"""Rows that a flow table may be given, at most: they are numbered in 32 bits."""
SWITCHES_MAX = 16
"""Virtual switches that one process starts, at most."""
RUNTIMES_MAX = 256
"""Runtimes that one process starts, at most."""
SEEDS_MAX = 1 << 53
"""Seeds of schedules end here."""
JOBS_MAX = 256
"""Processes that ``simulate`` starts, at most."""
LATER_COMMANDS = ("up", "status", "top", "migrate", "drain", "kill", "scale", "trace", "tap")
"""Commands of DESIGN section 12 that this version does not have yet."""


@attrs.frozen
class ReplayOptions:
    """``nfactor replay``, checked."""

    captures: tuple[Path, ...]
    """None for a node of its own (``--world processes``), which reads no captures."""
    chain: tuple[str, ...]
    rules: dict[str, Path]
    runtimes: int = 1
    switches: int = 1
    migrate_every: int = 0
    replication: Mode = attrs.Factory(Mode)
    domains: tuple[str, ...] = ()
    """Failure domains of the runtimes, in order."""
    launch: bool = False
    """Runtimes are started where there is none to replicate to."""
    kill_runtime_at: int = 0
    five_tuple: bool = False
    engine: EngineKind = "auto"
    threaded: bool = False
    """The engine of each runtime has a worker thread."""
    seed: int = 0
    flows_max: int = 1_000_000
    out: Path | None = None
    report: Path | None = None
    processes: bool = False
    """Every node is a process of its own."""
    words: tuple[str, ...] = ()
    """The command line that said all this, for those processes."""


@attrs.frozen
class CompileOptions:
    """``nfactor compile``, checked."""

    chain: tuple[str, ...]
    rules: dict[str, Path]


@attrs.frozen
class SimulateOptions:
    """``nfactor simulate``, checked."""

    scenarios: tuple[str, ...]
    seeds: range
    jobs: int
    situations: bool = False


@attrs.frozen
class GenerateOptions:
    """``nfactor generate``, checked; what is None is as the profile says."""

    out: Path
    profile: str
    changes: dict[str, float]
    """Fields of ``nfactor.traffic.Load``."""
    flow_sizes: Path | None
    packets_max: int | None
    seed: int


class _Parser(argparse.ArgumentParser):
    """One line for a mistake, without the usage text around it."""

    def error(self, message: str) -> NoReturn:
        raise CallerError(f"{message} (see {self.prog} --help)")


def parse(
    arguments: Sequence[str],
) -> ReplayOptions | CompileOptions | GenerateOptions | SimulateOptions | None:
    """Options of the command, or None for ``demo``. Raises ``CallerError``; ``--help`` and ``--version`` exit."""
    if arguments and arguments[0] in LATER_COMMANDS:
        raise CallerError(
            f"{arguments[0]}: not in this version yet; there are compile, demo, generate, replay and simulate"
        )
    said = _parser().parse_args(arguments)
    if said.command == "compile":
        return CompileOptions(_chain(said.chain), _rules(said.rules))
    if said.command == "generate":
        return _generate_options(said)
    if said.command == "simulate":
        return _simulate_options(said)
    return None if said.command == "demo" else _replay_options(said, arguments)


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    parser = _Parser(prog="nfactor", description="Network functions whose flows survive migration.")
    parser.add_argument("--version", action="version", version=f"nfactor {version('nfactor')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    commands.add_parser("demo", help="a real capture through migrating flows; no arguments, no root")
    replay = commands.add_parser("replay", help="carry captures through a cluster and account for every packet")
    replay.add_argument("captures", nargs="+", type=Path, metavar="CAPTURE", help="pcap or pcapng files, in order")
    _add_chain(replay)
    runtimes = f"runtimes to spread the flows over, 1 to {RUNTIMES_MAX} (%(default)s)"
    replay.add_argument("--runtimes", default="1", metavar="N", help=runtimes)
    switches = f"virtual switches that share the keys, 1 to {SWITCHES_MAX} (%(default)s)"
    replay.add_argument("--switches", default="1", metavar="M", help=switches)
    every = "begin a migration after each N input packets; needs two runtimes; a small N takes its time"
    replay.add_argument("--migrate-every", default="0", metavar="N", help=every)
    modes = (
        "what waits for a replica: nothing is replicated; packets wait, if there is one; packets wait for one; states "
    )
    modes += f"follow within K packets of their flow and T ms, {EVERY_MS} unless said (%(default)s)"
    kinds = "none|strict|strict-hold|every=K[/Tms]"
    replay.add_argument("--replication", default="none", metavar=kinds, help=modes)
    domains = "failure domains of the runtimes, in order: flows are replicated to another one where there is one"
    replay.add_argument("--domains", default="", metavar="NAME,NAME...", help=domains)
    launch = "start another runtime where only one is left to replicate to"
    replay.add_argument("--launch", action="store_true", help=launch)
    kill = "after N input packets, crash the runtime that has the most flows; needs two runtimes"
    replay.add_argument("--kill-runtime-at", default="0", metavar="N", help=kill)
    replay.add_argument("--flow-key", default="auto", metavar="auto|five-tuple", help="what a flow is (%(default)s)")
    engine = "what runs the chain: interpreted; machine code; or that where it can be had (%(default)s)"
    replay.add_argument("--engine", default="auto", metavar="auto|reference|compiled", help=engine)
    worker = "where the engine runs: in the loop of its runtime, or (with --world processes) in a thread (%(default)s)"
    replay.add_argument("--worker", default="loop", metavar="loop|thread", help=worker)
    replay.add_argument("--flows-max", default="1000000", metavar="N", help="rows of each flow table (%(default)s)")
    replay.add_argument("--seed", default="0", metavar="S", help="seed of everything random (%(default)s)")
    world = "all nodes in this process, on a virtual clock; or each in its own, over ZeroMQ (%(default)s)"
    replay.add_argument("--world", default="memory", metavar="memory|processes", help=world)
    replay.add_argument("--out", type=Path, metavar="OUT.pcap", help="write the packets that come out")
    replay.add_argument("--report", type=Path, metavar="REPORT.json", help="write the report")
    later = replay.add_argument_group("not in this version yet, beyond their defaults")
    later.add_argument("--config", default=None, metavar="FILE.toml")
    compiling = commands.add_parser("compile", help="make the machine code of a chain, and keep it for later runs")
    _add_chain(compiling)
    _add_generate(commands)
    _add_simulate(commands)
    return parser


_LOAD = {
    "flows_per_s": "new flows per second, on average",
    "seconds": "for so long flows begin; those that have begun go on to their end",
    "gap_s": "seconds from one packet of a flow to the next, on average",
    "udp": "share of flows that are UDP",
    "http": "share of TCP flows that are HTTP",
    "attacks": "share of HTTP flows with an attack string",
    "duplicates": "share of content that repeats over all flows",
    "ipv6": "share of flows over IPv6",
}
_PROFILES = ("campus", "imix", "paper-throughput", "paper-migration", "paper-scaling")


def _add_generate(commands: "argparse._SubParsersAction[_Parser]") -> None:
    generate = commands.add_parser("generate", help="write a capture of conversations drawn from a seed")
    generate.add_argument("out", type=Path, metavar="OUT.pcap")
    generate.add_argument("--profile", default="campus", metavar="NAME", help=f"{', '.join(_PROFILES)} (%(default)s)")
    for name, text in _LOAD.items():
        generate.add_argument(f"--{name.replace('_', '-')}", metavar="X", help=text)
    sizes = "octets of a TCP flow, as lines of OCTETS PROBABILITY (cumulative)"
    generate.add_argument("--flow-sizes", type=Path, metavar="FILE", help=sizes)
    generate.add_argument("--packets", metavar="N", help="stop after so many packets")
    generate.add_argument("--seed", default="0", metavar="S", help="seed of everything (%(default)s)")


def _generate_options(said: argparse.Namespace) -> GenerateOptions:
    if said.profile not in _PROFILES:
        raise CallerError(f"--profile {said.profile}: there are {', '.join(_PROFILES)}")
    changes: dict[str, float] = {}
    for name in _LOAD:
        text = getattr(said, name)
        if text is not None:
            try:
                changes[name] = float(text)
            except ValueError:
                raise CallerError(f"--{name.replace('_', '-')} {text}: must be a number") from None
    packets = None if said.packets is None else _number("--packets", said.packets, 1, 1 << 62)
    seed = _number("--seed", said.seed, 0, (1 << 64) - 1)
    return GenerateOptions(said.out, said.profile, changes, said.flow_sizes, packets, seed)


def _add_simulate(commands: "argparse._SubParsersAction[_Parser]") -> None:
    simulate = commands.add_parser("simulate", help="run schedules of faults drawn from seeds, and judge every run")
    heap, nodes = _scenarios()
    scenarios = f"on an event heap: {', '.join(heap)}, or all of those: all; whole nodes, under both engines: {nodes}"
    simulate.add_argument("scenario", metavar="SCENARIO", help=scenarios)
    seeds = "schedules from seed A up to, and without, seed B (%(default)s); of a single one all messages are shown"
    simulate.add_argument("--seeds", default="0:100", metavar="A:B", help=seeds)
    jobs = f"processes to spread them over, 1 to {JOBS_MAX} (as many as there are cores)"
    simulate.add_argument("--jobs", metavar="N", help=jobs)
    situations = "list what happened in the runs, and how often"
    simulate.add_argument("--situations", action="store_true", help=situations)


def _scenarios() -> tuple[tuple[str, ...], str]:
    """Those on the heap, and the one with whole nodes, of which a schedule takes as long as fifty of the others."""
    from nfactor.testing.draws import SCENARIOS
    from nfactor.testing.node_draws import NODES

    return SCENARIOS, NODES


def _simulate_options(said: argparse.Namespace) -> SimulateOptions:
    heap, nodes = _scenarios()
    if said.scenario not in (*heap, nodes, "all"):
        raise CallerError(f"{said.scenario} is no scenario: there are {', '.join(heap)}, {nodes} and all")
    first, colon, behind = said.seeds.partition(":")
    if not colon:
        raise CallerError(f"--seeds {said.seeds}: write A:B, for example 0:100")
    seeds = range(_number("--seeds", first, 0, SEEDS_MAX), _number("--seeds", behind, 0, SEEDS_MAX))
    if not seeds:
        raise CallerError(f"--seeds {said.seeds}: B must be higher than A")
    jobs = (os.cpu_count() or 1) if said.jobs is None else _number("--jobs", said.jobs, 1, JOBS_MAX)
    return SimulateOptions(heap if said.scenario == "all" else (said.scenario,), seeds, jobs, said.situations)


def _add_chain(parser: argparse.ArgumentParser) -> None:
    functions = "firewall, monitor, balancer, http, ids, or MODULE:CLASS of your own"
    parser.add_argument(
        "--chain", default="firewall,monitor", help=f"network functions in order (%(default)s): {functions}"
    )
    rules = "rules for one of them, for example firewall=rules.txt; may stand several times"
    parser.add_argument("--rules", action="append", default=[], metavar="NF=FILE", help=rules)


def _chain(said: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in said.split(","))


def _replay_options(said: argparse.Namespace, words: Sequence[str]) -> ReplayOptions:
    if said.config is not None:
        raise CallerError(f"--config {said.config}: not in this version yet")
    if said.flow_key not in ("auto", "five-tuple"):
        raise CallerError(f"--flow-key {said.flow_key}: auto or five-tuple")
    if said.engine not in ENGINES:
        raise CallerError(f"--engine {said.engine}: {', '.join(ENGINES[:-1])} or {ENGINES[-1]}")
    if said.worker not in ("loop", "thread"):
        raise CallerError(f"--worker {said.worker}: loop or thread")
    if said.worker == "thread" and said.world != "processes":
        raise CallerError("--worker thread needs --world processes: a virtual clock waits for no thread")
    if said.world not in ("memory", "processes"):
        raise CallerError(f"--world {said.world}: memory or processes")
    options = ReplayOptions(
        captures=tuple(said.captures),
        chain=_chain(said.chain),
        rules=_rules(said.rules),
        runtimes=_number("--runtimes", said.runtimes, 1, RUNTIMES_MAX),
        switches=_number("--switches", said.switches, 1, SWITCHES_MAX),
        migrate_every=_number("--migrate-every", said.migrate_every, 0, 1 << 62),
        replication=Mode.parse(said.replication),
        domains=_domains(said.domains),
        launch=said.launch,
        kill_runtime_at=_number("--kill-runtime-at", said.kill_runtime_at, 0, 1 << 62),
        five_tuple=said.flow_key == "five-tuple",
        engine=said.engine,
        seed=_number("--seed", said.seed, 0, (1 << 64) - 1),
        flows_max=_number("--flows-max", said.flows_max, 1, FLOWS_LIMIT),
        out=said.out,
        report=said.report,
        threaded=said.worker == "thread",
        processes=said.world == "processes",
        words=tuple(words),
    )
    if options.migrate_every and options.runtimes < 2:
        raise CallerError("--migrate-every needs at least --runtimes 2: there is nowhere to migrate to")
    _check_runtimes(options)
    _check_outputs(options)
    return options


def _domains(text: str) -> tuple[str, ...]:
    domains = tuple(name.strip() for name in text.split(",")) if text else ()
    if not all(domains):
        raise CallerError(f"--domains {text}: names with commas in between")
    return domains


def _check_runtimes(options: ReplayOptions) -> None:
    """There must be as many as what is asked for leaves at least one other."""
    if options.domains and len(options.domains) != options.runtimes:
        raise CallerError(f"--domains names {len(options.domains)} failure domains of --runtimes {options.runtimes}")
    if options.kill_runtime_at and options.runtimes < 2:
        raise CallerError("--kill-runtime-at needs at least --runtimes 2: nobody would be left")
    needed = 1 if options.launch else 3 if options.kill_runtime_at else 2
    if options.replication.kind is Kind.STRICT_HOLD and options.runtimes < needed:
        raise CallerError(
            f"--replication strict-hold needs at least --runtimes {needed} here: packets would wait "
            "for a replica for ever"
        )


def _check_outputs(options: ReplayOptions) -> None:
    """No output may be another, or a file that is read: it would replace it."""
    read = [(path, "a capture") for path in options.captures] + [(path, "rules") for path in options.rules.values()]
    outputs = [
        (name, path) for name, path in (("--out", options.out), ("--report", options.report)) if path is not None
    ]
    for name, path in outputs:
        for other, what in read:
            if path.is_file() and path.resolve() == other.resolve():
                raise CallerError(f"{name} {path} is also read, as {what}: it would be overwritten")
    if len(outputs) == 2 and outputs[0][1].resolve() == outputs[1][1].resolve():
        raise CallerError(f"--out and --report are both {options.out}")


def _number(option: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
        raise CallerError(f"{option} {text}: must be a whole number from {low} to {high}")
    return int(text)


def _rules(said: Sequence[str]) -> dict[str, Path]:
    rules: dict[str, Path] = {}
    for item in said:
        name, equals, path = item.partition("=")
        if not (name and equals and path):
            raise CallerError(f"--rules {item}: write NF=FILE, for example firewall=rules.txt")
        if name in rules:
            raise CallerError(f"--rules {name}=… stands twice")
        rules[name] = Path(path)
    return rules
