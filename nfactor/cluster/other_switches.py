"""What passes between virtual switches: packets of each other's keys, and words about aliases."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from nfactor.backends.base import Port
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import Done, FlowStatuses
from nfactor.cluster.names import LIAISON
from nfactor.cluster.recovery_messages import ForgetAliases, LearnAliases
from nfactor.cluster.view import View
from nfactor.compiled import outer_headers
from nfactor.dataplane.aliases import Told
from nfactor.dataplane.engine import Status
from nfactor.dataplane.owners import Owners
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.flow_key import FlowKeys

Pair: TypeAlias = tuple[bytes, bytes]
"""An alias, and the key of its flow."""
EARLY_PACKETS_MAX = 4096
"""Packets that are passed on to a switch which has begun again, and has no view yet, that wait for it."""
TEACH_AGAIN_S = 0.25
"""An alias that another switch knows as another flow's is told it again after so long, if it still is ours."""


class OtherSwitches:
    """Those of the view; ``inside`` is the port through which they and the runtimes are reached."""

    def __init__(self, dispatcher: Owners, inside: Port, ledger: Ledger, view: View) -> None:
        self._dispatcher = dispatcher
        self._inside = inside
        self._ledger = ledger
        self._view = view
        self._names: dict[bytes, str] = {}
        """By the addresses of their inside ports, this one's among them."""
        self._early: list[Burst] = []
        self.early_refused = 0
        """Packets for which there was no room (``EARLY_PACKETS_MAX``)."""

    def begin(self, ask: Callable[..., None], after: Callable[[float, Callable[[], None]], None]) -> None:
        """``ask`` as in ``Role``, ``after`` as in ``Host``."""
        self._ask, self._after = ask, after

    def keep(self, burst: Burst) -> None:
        """Frames from inside, before anybody's address is known: they wait for the first view."""
        room = max(0, EARLY_PACKETS_MAX - sum(map(len, self._early)))
        self.early_refused += max(0, len(burst) - room)
        self._early.append(burst.slice(0, room))

    def take_early(self) -> list[Burst]:
        """What has waited for the first view."""
        early, self._early = self._early, []
        return early

    def follow(self, own: str) -> None:
        """The view has changed."""
        switches = self._view.of_kind("switch")
        self._names = {member.address: member.name for member in switches}
        self._dispatcher.set_switches(len(switches), next(m.index for m in switches if m.name == own))

    @property
    def are_there(self) -> bool:
        """Whether there are any."""
        return len(self._names) > 1

    def sent(self, burst: Burst) -> npt.NDArray[np.bool_]:
        """Which frames are theirs."""
        return np.array([source in self._names for source in cluster_frame.sources(burst)], bool)

    def take(self, burst: Burst) -> tuple[Burst, Burst]:
        """Frames that they sent: packets that come in, and such as go out by this switch because of an alias."""
        for address, count in outer_headers.count_sources(burst).items():
            self._ledger.take(self._names[address], count)
        outwards = (cluster_frame.label_bits(burst) & cluster_frame.TEACH) > 0
        return burst.select(np.flatnonzero(~outwards)), burst.select(np.flatnonzero(outwards))

    def pass_on(self, packets: Burst, switch: int, *, passed_on: bool) -> None:
        """To the switch that owns their keys: once, and once more if they are for an alias, or two that disagree would
        play with them for ever."""
        if passed_on:
            labelled = (cluster_frame.label_bits(packets) & cluster_frame.ALIAS) > 0
            self._ledger.drop("misrouted", packets.select(np.flatnonzero(~labelled)))
            packets = packets.select(np.flatnonzero(labelled))
        if len(packets):
            self._hand(packets, switch)

    def _hand(self, packets: Burst, switch: int) -> None:
        member = next(member for member in self._view.of_kind("switch") if member.index == switch)
        outer_headers.readdress(packets, target=member.address, source=self._inside.address)
        taken = self._inside.send(packets)
        self._ledger.hand(member.name, taken)
        self._ledger.drop("port_full", packets.slice(taken, len(packets)))

    def learn(self, burst: Burst) -> Burst:
        """Packets on their way out; those go on to another switch that tell of an alias which is that one's. The
        rest."""
        others = self._dispatcher.learn(burst)
        for switch in sorted(set(others.values())):
            self._hand(burst.select(np.array([place for place in others if others[place] == switch])), switch)
        return burst.select(np.setdiff1d(np.arange(len(burst)), list(others))) if others else burst

    def _by_switch(self, pairs: list[Pair]) -> Iterator[tuple[str, list[Pair]]]:
        """Those of each other switch that has any."""
        for member in self._view.of_kind("switch") if pairs else ():
            theirs = [pair for pair in pairs if self._dispatcher.switch_of(pair[0]) == member.index]
            if theirs and member.address != self._inside.address:
                yield member.name, theirs

    def tell_gone(self) -> None:
        """Tell them which aliases are none any more."""
        for switch, pairs in self._by_switch(self._dispatcher.take_gone()):
            aliases, keys = (b"".join(column) for column in zip(*pairs, strict=True))
            self._ask(
                switch, LIAISON, ForgetAliases(aliases, keys), Done, lambda _, s=switch, p=pairs: self._teach(s, p)
            )

    def _teach(self, switch: str, pairs: list[Pair]) -> None:
        """Tell it of those that are aliases of our flows: a word that they were none may have come late, when flows of
        the same keys had them again."""
        turns = ((key, alias, self._dispatcher.turn_of(alias, key)) for alias, key in pairs)
        again = [(key, alias, turn) for key, alias, turn in turns if turn is not None]
        if again:
            keys, aliases, ways = zip(*again, strict=True)
            word = LearnAliases(b"".join(keys), b"".join(aliases), bytes(ways))
            taught = [(alias, key) for key, alias, _ in again]
            self._ask(switch, LIAISON, word, FlowStatuses, partial(self._taught, switch, taught))

    def _taught(self, switch: str, pairs: list[Pair], answer: FlowStatuses | None) -> None:
        """Of two words for one alias it knows not which is the later one; we know whether ours still holds."""
        if answer is not None:
            refused = [pair for pair, status in zip(pairs, answer.statuses, strict=True) if status == Status.EXISTS]
            if refused:
                self._after(TEACH_AGAIN_S, partial(self._teach, switch, refused))

    def tell_again(self, known: Iterable[Told]) -> None:
        """The table was lost, and with it what was to be said again: these aliases are theirs, if they are any."""
        pairs = [(alias, key) for told in known for key, alias in zip(told.keys, told.aliases, strict=True)]
        for switch, theirs in self._by_switch(pairs):
            self._teach(switch, theirs)

    def learn_again(self, message: LearnAliases) -> FlowStatuses:
        """What another one has said too early to have ended. An alias that another flow has by now is not taken from it
        (EXISTS): the word may have come late."""
        keys, aliases = FlowKeys.of_octets(message.keys), FlowKeys.of_octets(message.aliases)
        pairs = zip(aliases, keys, strict=True)
        free = np.fromiter(
            (self._dispatcher.known_alias(alias) in (None, key) for alias, key in pairs), bool, len(keys)
        )
        turns = np.frombuffer(message.turns, np.uint8)
        self._dispatcher.learn_again(Told(keys.where(free), aliases.where(free), turns[free]))
        return FlowStatuses(np.where(free, np.uint8(Status.OK), np.uint8(Status.EXISTS)).tobytes())
