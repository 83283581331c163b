"""The whole model: nodes, what is on its way between them, and what may still go wrong.

A state is a row of numbers: of each node's value, of what is on its way to each node, and of what fate has left. Values
are numbered as they appear. What a node does with a message follows from the two alone, so it is worked out once.
"""

from collections.abc import Callable, Hashable, Iterator
from functools import cache
from typing import Any, TypeAlias

import attrs

from tests.protocols.model import membership, runtime, switch
from tests.protocols.model.hurry import may_hurry
from tests.protocols.model.parts import (
    DATA,
    RUNTIMES,
    Bury,
    Coordinator,
    Crashed,
    Declare,
    Node,
    Packet,
    Past,
    Protect,
    Runtime,
    SetOut,
    Switch,
)
from tests.protocols.model.promises import broken, broken_end, protects
from tests.protocols.model.turn import Turn

State: TypeAlias = tuple[int, ...]
Queue: TypeAlias = tuple[str, str, tuple[object, ...]]
"""Way, sender, messages in order. What is on its way to a node is a tuple of these."""
Action: TypeAlias = tuple[str, str, str, Any]
"""What happens: kind, sender (or nobody), receiver, message."""
Letters: TypeAlias = tuple[tuple[int, int], ...]
"""What is sent: the receiver's place, and the number of way, sender and message."""
Arrival: TypeAlias = tuple[Action, int, int, Letters]
"""What arrives, what the receiver becomes, what else is on its way to it, what it sends."""

NAMES = RUNTIMES + "SM"
PLACE = {name: place for place, name in enumerate(NAMES)}
COORDINATOR, INBOX, FATE = PLACE["M"], len(NAMES), 2 * len(NAMES)
HANDLERS: dict[type, Callable[[Any, str, Any], None]] = {
    Runtime: runtime.handle,
    Switch: switch.handle,
    Coordinator: membership.handle,
}


@attrs.frozen
class Fate:
    """What may still happen of itself, and what the judge has to remember."""

    packets: int
    """That have come."""
    migrations: int
    deaths: int
    dead: str = ""
    """Who has crashed, or is believed to have."""
    excused: bool = False
    """A runtime died while the flow was not protected against it, because of another's death: it may be lost."""
    sure: Past = ()
    """Packets that came when all deaths were made good for, and that have to come out."""


@attrs.frozen
class Bounds:
    """How much happens. ``place``: which of its two possible replicas each runtime takes. ``crash``: dead runtimes are
    so; else they live on, cut off, and do not know that they are dead."""

    runtimes: str = RUNTIMES
    place: int = 0
    packets: int = 2
    migrations: int = 1
    deaths: int = 1
    crash: bool = True
    hurry: bool = True
    """Whether orders of events that nobody can tell apart are left out."""
    variation: str = ""


class World:
    """See ``explore.Model``."""

    def __init__(self, bounds: Bounds) -> None:
        assert bounds.deaths < len(bounds.runtimes), "somebody has to live"
        self.bounds = bounds
        self._numbers: dict[Hashable, int] = {}
        self._values: list[Any] = []
        self._steps = cache(self._work_out_steps)
        self._arrivals = cache(self._work_out_arrivals)
        self._own_accord = cache(self._work_out_own_accord)
        self._push = cache(self._work_out_push)
        self._promises = cache(self._work_out_promises)
        self._empty = self._number(())
        self._crashed = {self._number(Crashed(name)) for name in RUNTIMES}

    def _number(self, value: Hashable) -> int:
        number = self._numbers.setdefault(value, len(self._values))
        if number == len(self._values):
            self._values.append(value)
        return number

    def initial(self) -> State:
        """A has the flow, of one packet that is out; its replica has it too."""
        bounds, runtimes = self.bounds, self.bounds.runtimes
        replicas = {name: membership.ring(runtimes, name)[bounds.place % (len(runtimes) - 1)] for name in runtimes}
        nodes: list[Node] = [
            Runtime(
                name,
                replica=replicas[name],
                phase="owned" if name == "A" else "",
                epoch=1 if name == "A" else 0,
                past=(0,) if name == "A" else (),
                copies=(("A", 1, (0,)),) if name == replicas["A"] else (),
            )
            if name in runtimes
            else Crashed(name)
            for name in RUNTIMES
        ]
        nodes += [Switch(runtimes, "A", 1, out=((0,),)), Coordinator(runtimes)]
        fate = Fate(0, bounds.migrations, bounds.deaths)
        return (*map(self._number, nodes), *[self._empty] * len(NAMES), self._number(fate))

    # ---------------------------------------------------------------- what can happen

    def successors(self, state: State) -> list[tuple[Action, State]]:
        """Any message that is first in its queue arrives; or something happens of itself."""
        fate: Fate = self._values[state[FATE]]
        more_deaths = fate.deaths > 0 or len(fate.dead) > len(self._values[state[COORDINATOR]].dead)
        found: list[tuple[Action, State]] = []
        for place in range(INBOX):
            inbox = state[INBOX + place]
            if inbox == self._empty:
                continue
            hurried, arrivals = self._arrivals(place, state[place], inbox, more_deaths)
            if hurried:
                found.clear()
            for action, node, rest, letters in arrivals:
                found.append((action, self._after(state, place, node, rest, letters)))
            if hurried:
                return found
        found += self._of_itself(state, fate)
        return found

    def _after(self, state: State, place: int, node: int, inbox: int, letters: Letters) -> State:
        """The state in which the node at that place has become another, and more is on its way."""
        changed = list(state)
        changed[place], changed[INBOX + place] = node, inbox
        for receiver, letter in letters:
            if changed[receiver] not in self._crashed:
                changed[INBOX + receiver] = self._push(changed[INBOX + receiver], letter)
        return tuple(changed)

    def _work_out_arrivals(self, place: int, node: int, inbox: int, more_deaths: bool) -> tuple[bool, list[Arrival]]:
        """What may arrive there next, and what follows; one alone if it may be hurried."""
        every: list[Arrival] = []
        queues: tuple[Queue, ...] = self._values[inbox]
        for index, (way, sender, messages) in enumerate(queues):
            rest = ((way, sender, messages[1:]),) if len(messages) > 1 else ()
            left = self._number((*queues[:index], *rest, *queues[index + 1 :]))
            action = (way, sender, NAMES[place], messages[0])
            these = [(action, after, left, letters) for after, letters in self._steps(node, sender, messages[0])]
            if self.bounds.hurry and may_hurry(self._values[node], sender, messages[0], more_deaths=more_deaths):
                return True, these
            every += these
        return False, every

    def _work_out_push(self, inbox: int, letter: int) -> int:
        way, sender, message = self._values[letter]
        queues = {(way, sender): messages for way, sender, messages in self._values[inbox]}
        queues[way, sender] = (*queues.get((way, sender), ()), message)
        return self._number(tuple(sorted((*key, messages) for key, messages in queues.items())))

    def _work_out_steps(self, node: int, sender: str, message: object) -> list[tuple[int, Letters]]:
        """What the node becomes and sends: more than one only where a new flow may go to several runtimes."""
        me = self._values[node]
        outcomes: dict[tuple[int, Letters], None] = {}
        for fresh in (switch.living(me) if isinstance(me, Switch) else "") or RUNTIMES[0]:
            turn: Turn[Any] = Turn(me, place=self.bounds.place, fresh=fresh, variation=self.bounds.variation)
            HANDLERS[type(me)](turn, sender, message)
            letters = [(PLACE[to], self._number((way, me.name, letter))) for way, to, letter in turn.sent]
            outcomes[self._number(turn.node), tuple(letters)] = None
        return list(outcomes)

    # ---------------------------------------------------------------- what happens of itself

    def _of_itself(self, state: State, fate: Fate) -> Iterator[tuple[Action, State]]:
        if fate.packets < self.bounds.packets:
            number = fate.packets + 1
            sure = (*fate.sure, number) if self._mended(state, fate) else fate.sure
            fated = attrs.evolve(fate, packets=number, sure=sure)
            yield from self._do(state, fated, "packet", "S", Packet(number))
        for place, name in enumerate(RUNTIMES):
            for message in self._own_accord(state[place], state[INBOX + place]):
                if isinstance(message, Bury | Protect):
                    yield from self._do(state, fate, "time", name, message)
                elif fate.migrations:
                    fated = attrs.evolve(fate, migrations=fate.migrations - 1)
                    yield from self._do(state, fated, "set out", name, message)
        for name in self.bounds.runtimes:
            if name in fate.dead:
                if name not in self._values[state[COORDINATOR]].dead:
                    yield from self._do(state, fate, "declare", "M", Declare(name))
            elif fate.deaths:
                dying = self._dying(state, fate, name)
                if self.bounds.crash:
                    yield ("crash", "", name, None), self._crash(state, dying, name)
                else:
                    yield from self._do(state, dying, "declare", "M", Declare(name))

    def _do(self, state: State, fate: Fate, kind: str, name: str, message: object) -> Iterator[tuple[Action, State]]:
        place = PLACE[name]
        fated = (*state[:FATE], self._number(fate))
        for after, letters in self._steps(state[place], "", message):
            yield (kind, "", name, message), self._after(fated, place, after, state[INBOX + place], letters)

    def _crash(self, state: State, fate: Fate, name: str) -> State:
        """What was on its way to it is lost; what it has sent may still arrive."""
        fated = (*state[:FATE], self._number(fate))
        return self._after(fated, PLACE[name], self._number(Crashed(name)), self._empty, ())

    def _work_out_own_accord(self, node: int, inbox: int) -> list[object]:
        """What this runtime may do: set out, bury (when nothing can be on its way to here), have the flow stored."""
        me, found = self._values[node], list[object]()
        if isinstance(me, Runtime) and me.bare:
            found.append(Protect())
        if isinstance(me, Runtime) and me.migration is None:
            if me.phase == "gone" and all(way != DATA for way, _, _ in self._values[inbox]):
                found.append(Bury())
            if me.phase == "owned" and (
                not me.asked_by or self.bounds.variation == "a flow may set out before it has arrived"
            ):
                found += [SetOut(other) for other in self.bounds.runtimes if other not in me.name + me.dead]
        return found

    def _dying(self, state: State, fate: Fate, name: str) -> Fate:
        """A second death that comes before the first is made good for may cost the flow."""
        safe = self._mended(state, fate) and any(
            protects(node)
            for node in (self._values[number] for number in state[: len(RUNTIMES)])
            if isinstance(node, Runtime) and node.name not in fate.dead
        )
        excused = fate.excused or (fate.dead != "" and not safe)
        return attrs.evolve(fate, deaths=fate.deaths - 1, dead=fate.dead + name, excused=excused, sure=())

    def _mended(self, state: State, fate: Fate) -> bool:
        """Whether every death so far has been made good for."""
        me: Coordinator = self._values[state[COORDINATOR]]
        return len(me.dead) == len(fate.dead) and not me.fencing and me.present is None

    # ---------------------------------------------------------------- judgement

    def broken(self, state: State) -> str:
        """See ``promises``."""
        return self._promises(*state[:COORDINATOR], state[FATE])

    def _work_out_promises(self, *numbers: int) -> str:
        *nodes, fate = (self._values[number] for number in numbers)
        return broken(nodes, fate)

    def broken_end(self, state: State) -> str:
        """See ``promises``."""
        nodes = [self._values[number] for number in state[: len(NAMES)]]
        return broken_end(nodes, self._values[state[FATE]], self.bounds)

    def values(self, state: State) -> tuple[object, ...]:
        """What the numbers mean."""
        return tuple(self._values[number] for number in state)

    def tell(self, action: Action) -> str:
        """One line for a reader."""
        kind, sender, receiver, message = action
        match kind:
            case "packet":
                return f"packet {message.number} comes to the switch"
            case "time":
                return (
                    f"{receiver}'s tombstone goes" if message == Bury() else f"{receiver} sends the flow to its replica"
                )
            case "set out":
                return f"{receiver} sets out with the flow for {message.target}"
            case "declare":
                return f"{message.runtime} is declared dead"
            case "crash":
                return f"{receiver} dies"
        arrow = "═▶" if kind == DATA else "─▶"
        said = [(field.name, getattr(message, field.name)) for field in attrs.fields(type(message))]
        text = ", ".join(f"{name}={value!r}" for name, value in said if value not in ("", ()))
        return f"{sender} {arrow} {receiver}  {type(message).__name__}({text})"
