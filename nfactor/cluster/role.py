"""A role: an actor whose handlers never wait, and that can ask other nodes until they answer or are declared dead.

What a handler returns is the answer; where that takes longer, it returns a ``Later`` and answers that. Questions go
through ``nfactor.protocols.calls``: they survive the end of a session, and are acted on once.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar, TypeVar

from nfactor.actors import Actor, handles
from nfactor.actors.message import is_system
from nfactor.cluster.actor_host import ActorHost
from nfactor.cluster.addresses import life_of
from nfactor.cluster.call_messages import Answer, Call, ControlCall
from nfactor.cluster.codec import MESSAGES
from nfactor.cluster.host import Host
from nfactor.cluster.view import View
from nfactor.errors import ProtocolError
from nfactor.protocols.calls import RESEND_AFTER_S, Address, Answerer, Caller, Question

R = TypeVar("R")
Task = tuple[Callable[..., Awaitable[object]], tuple[Any, ...]]


class Later:
    """An answer that is not there yet."""

    def __init__(self) -> None:
        self._then: Callable[[object], None] | None = None
        self._answer: object = None
        self.is_there = False

    def answer(self, message: object) -> None:
        """Here it is; once."""
        assert not self.is_there, "a question is answered once"
        self.is_there, self._answer = True, message
        if self._then is not None:
            self._then(message)

    def when_there(self, then: Callable[[object], None]) -> None:
        """Call that with the answer, now or later."""
        if self.is_there:
            then(self._answer)
        else:
            self._then = then


def when_there(answer: object, then: Callable[[object], None]) -> None:
    """Call that with what a handler has returned, or with what it returns later."""
    if isinstance(answer, Later):
        answer.when_there(then)
    else:
        then(answer)


class Role(Actor):
    """The base of all roles. ``view``, that of the node, is there before ``join``, which comes before ``begin``, and
    both before the first message."""

    host: Host
    view: View
    hears_first: ClassVar[tuple[type, ...] | None] = None
    """Of a runtime, whose next life is another one: the questions that are for it before it has a view. It hears no
    others until then, none that an earlier life of it was asked (links keep what they cannot deliver), and none of who
    is declared dead. None: it hears everything."""
    own_life: int = 0
    """Of a runtime: which life of it this is, as in its address."""

    def join(self, host: Host) -> None:
        """Take place in these surroundings."""
        self.host = host
        self.view.watch(self._forget_node)
        self._caller = Caller(self._put_question)
        self._answerer = Answerer(self._put_answer)
        self._resending = False

    def begin(self) -> None:
        """Begin to work: what a role does of its own accord."""

    def tasks(self) -> list[Task]:
        """What has to run beside it on trio: pumps of its ports."""
        return []

    async def started(self) -> None:
        """As an actor."""
        self.join(ActorHost(self.context))
        self.begin()
        for function, arguments in self.tasks():
            self.context.start_soon(function, *arguments)

    # ---------------------------------------------------------------- asking

    def ask(self, node: str, actor: str, message: object, reply: type[R], then: Callable[[R | None], None]) -> None:
        """Ask a role of any node; ``then`` is called with the answer, or with None when that node is declared dead (at
        once, if it was)."""
        if self.view.is_dead(node):
            then(None)
            return
        self._caller.ask(
            Address(node, actor),
            MESSAGES.encode(message),
            partial(self._read, reply, then),
            self.host.now(),
            control=is_system(message),
        )
        if not self._resending:
            self._resending = True
            self.host.after(RESEND_AFTER_S, self._resend)

    def _read(self, reply: type[R], then: Callable[[R | None], None], body: bytes | None) -> None:
        answer = None if body is None else MESSAGES.decode(body)
        if answer is not None and not isinstance(answer, reply):
            raise ProtocolError(f"{type(answer).__name__} is no {reply.__name__}, which was asked for")
        then(answer)

    def _resend(self) -> None:
        self._caller.resend(self.host.now())
        self._resending = len(self._caller) > 0
        if self._resending:
            self.host.after(RESEND_AFTER_S, self._resend)

    def _forget_node(self, node: str) -> None:
        self._caller.gone(node)

    def _put_question(self, to: Address, question: Question) -> None:
        cls, host, asked = ControlCall if question.control else Call, self.host, self.view.known.get(to.node)
        life = 0 if asked is None else life_of(asked.address)
        call = cls(host.node, host.actor, host.life, life, question.number, question.settled, question.body)
        host.tell(to.node, to.actor, call)

    @handles(Answer)
    def answered(self, message: Answer) -> None:
        """To one of our questions, in this life or an earlier one."""
        if message.life == self.host.life:
            self._caller.answered(message.number, message.body)

    # ---------------------------------------------------------------- answering

    @handles(Call)
    def called(self, message: Call) -> None:
        """A question: act on it, unless it is here for the second time."""
        self._take(message, control=False)

    @handles(ControlCall)
    def called_first(self, message: ControlCall) -> None:
        """The same, on the system lane."""
        self._take(message, control=True)

    def _take(self, call: Call | ControlCall, *, control: bool) -> None:
        if not self._hears(call):
            return
        asker = Address(call.node, call.actor)
        if self._answerer.take(asker, call.life, Question(call.number, call.settled, control, call.body)):
            answer = self.act(MESSAGES.decode(call.body))
            when_there(answer, partial(self._finish, asker, call.life, call.number))

    def _hears(self, call: Call | ControlCall) -> bool:
        if self.hears_first is None:
            return True
        if call.to not in (0, self.own_life) or self.view.is_dead(call.node):
            return False
        return self.view.term > 0 or isinstance(MESSAGES.decode(call.body), self.hears_first)

    def act(self, message: object) -> object:
        """What the handler for that message returns."""
        handler = type(self).handlers.get(type(message))
        if handler is None:
            raise ProtocolError(f"{type(self).__name__} takes no {type(message).__name__}")
        return handler.function(self, message)

    def _finish(self, asker: Address, life: int, number: int, answer: object) -> None:
        self._answerer.answer(asker, life, number, MESSAGES.encode(answer))

    def _put_answer(self, asker: Address, life: int, number: int, body: bytes) -> None:
        self.host.tell(asker.node, asker.actor, Answer(life, number, body))
