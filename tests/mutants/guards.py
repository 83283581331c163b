"""Mutants made from the text of the protocols' machines: each condition inverted, each number that is raised left as it
is. A machine that is right for a reason falls over when the reason is taken away.

What counts is what a judge says, and what the machines themselves do: a ``ProtocolError``, or an assertion of theirs,
those of the changed method among them. Where what is inverted asks whether something is there, the method goes on with
what is not, and Python ends the run by a ``TypeError``, ``AttributeError`` or ``KeyError``. No run could go on from
there, so such a condition is not idle; but of judges that says nothing, and it has nothing to do with protocols. Those
mutants are named in ``CRASHES``, are to crash, and count for nothing else."""

import ast
import inspect
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

from nfactor.cluster.rebuild import Rebuild
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.protocols.calls import Answerer, Caller
from nfactor.protocols.dealing import Deal
from nfactor.protocols.leasing import LeaseBook
from nfactor.protocols.migration import MigrationSource
from nfactor.protocols.recovery import Recovery
from nfactor.protocols.replication import Channel, Outstanding, ReplicaStore
from tests.mutants.mutant import COPIED, CRASH, Mutant, every, patched, within

Machines: TypeAlias = tuple[tuple[type, tuple[str, ...], str], ...]
"""Machine, its methods (none: all that are plain), the scenario that is to catch it."""

MACHINES: Machines = (
    (MigrationSource, (), "recovery"),
    (Recovery, (), "recovery"),
    (Caller, (), "cluster"),
    (Answerer, (), "cluster"),
    (Channel, (), "recovery"),
    (Outstanding, (), "recovery"),
    (ReplicaStore, (), "recovery"),
    (Deal, (), "recovery"),
    (LeaseBook, (), "nat"),
    (Rebuild, (), "restarts"),
    (Dispatcher, ("redirect", "claim", "forget", "abandon"), "cluster"),
)
OTHERWISE = {"MigrationSource.turned": "restarts", "ReplicaStore.look": "restarts"}
"""What only another scenario uses."""
RUNS = 30
"""Schedules that are to catch each,"""
NEEDED: dict[str, int] = {
    "MigrationSource.turned: if not (answered or self.state in (State.PREPARING, State.ABORTED))": 78,
    "MigrationSource.returned: if not (not len(refused))": 77,
    "MigrationSource._claim: self.epochs + 1 without the 1": 49,
}
"""but for these, which took so many."""
CRASHES = {
    "MigrationSource.prepared: if not (self._groups is not None)",
    "Answerer.take: if not (known is None or known.life < life)",
    "Answerer.take: if not (question.number in known.answers)",
    "Answerer.take: if not (body is not None)",
    "ReplicaStore.store: if not (primary not in self._copies)",
    "ReplicaStore.look: if not (copies is None)",
    "ReplicaStore.take: if not (primary in self._copies)",
    "Deal.change: if not (apart)",
    "Deal.change: if not (len(numbers))",
    "LeaseBook.lease: if not (last is not None and last.count >= count)",
    "LeaseBook._apply: if not (number < book.fresh)",
    "Dispatcher.claim: if not (packets is not None)",
}
"""Those that go on with what is not there."""


def mutants() -> Iterator[Mutant]:
    """All of them."""
    yield from of(MACHINES, otherwise=OTHERWISE, needed=NEEDED, crashes=CRASHES)


def of(
    machines: Machines, *, otherwise: Mapping[str, str], needed: Mapping[str, int], crashes: Collection[str]
) -> Iterator[Mutant]:
    """Of those machines; ``otherwise`` by method or by mutant."""
    for machine, names, scenario in machines:
        for name, method in list(vars(machine).items()):
            if inspect.isfunction(method) and name != "__init__" and (not names or name in names):
                place = f"{machine.__name__}.{name}"
                for title, mutant in _titled(place, method):
                    seeds = within(needed[title]) if title in needed else RUNS
                    runs = every(otherwise.get(title, otherwise.get(place, scenario)), seeds)
                    by = CRASH if title in crashes else ""
                    yield Mutant(title, partial(patched, machine, **{name: mutant}), runs, by)


def _titled(place: str, method: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """What is there twice has a number."""
    known: Counter[str] = Counter()
    for what, mutant in _of(method):
        known[what] += 1
        yield f"{place}: {what}" + (f" ({known[what]})" if known[what] > 1 else ""), mutant


def _of(method: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    source = textwrap.dedent(inspect.getsource(method))
    for number, place in enumerate(_places(ast.parse(source))):
        tree = ast.parse(source)
        _change(_places(tree)[number])
        names: dict[str, Any] = {}
        code = compile(ast.fix_missing_locations(tree), f"{COPIED}{method.__qualname__}>", "exec")
        exec(code, vars(sys.modules[method.__module__]), names)
        yield _say(place), names[method.__name__]


def _places(tree: ast.AST) -> list[ast.AST]:
    """What can be changed: conditions, and sums with one."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.If | ast.IfExp) or _raises(node)]


def _raises(node: ast.AST) -> bool:
    value = node.right if isinstance(node, ast.BinOp) else node.value if isinstance(node, ast.AugAssign) else None
    if not isinstance(value, ast.Constant) or value.value != 1:
        return False
    return isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub)


def _change(node: ast.AST) -> None:
    if isinstance(node, ast.If | ast.IfExp):
        node.test = ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.BinOp):
        node.right = ast.Constant(0)
    elif isinstance(node, ast.AugAssign):
        node.value = ast.Constant(0)


def _say(node: ast.AST) -> str:
    if isinstance(node, ast.If | ast.IfExp):
        return f"if not ({ast.unparse(node.test)})"
    return f"{ast.unparse(node)} without the 1"
