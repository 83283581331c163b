"""One tree of errors, split by whose fault it was.

``CallerError`` is yours: a wrong option, rule, type or call; the command line turns it into one line and exit status 2.
``RemoteError``, ``PeerDown`` and ``ProtocolError`` come from the other end of a link. ``MailboxFull`` and
``ActorDead`` say that a limit or a lifetime was met. ``MalformedPacket`` is the only thing that ``nfactor.packet``
raises for bytes that it cannot read. Every message says what happened, to whom, and what to do.
"""


class NfactorError(Exception):
    """The root: catch this to catch whatever nfactor raises on purpose."""


class CallerError(NfactorError):
    """The caller asked for something impossible; nothing was done. Exit status 2 on the command line."""


class RuleError(CallerError):
    """A rule file has a bad line; the message begins with ``FILE:LINE:``."""

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}")
        self.file = file
        self.line = line
        self.problem = problem


class CaptureError(CallerError):
    """A capture file cannot be read at all: missing, of an unknown format, or with a broken header.

    A file that is merely cut short is *not* an error: it is read up to the cut, and the reader says ``truncated``.
    """


class MalformedPacket(NfactorError):
    """The bytes are not a packet of the kind that they claim to be. ``reason`` is a short stable counter name."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"malformed packet: {reason}")
        self.reason = reason


class CodecError(CallerError):
    """A message cannot be encoded: its class is not registered, or a field holds a value of another type."""


class ProtocolError(NfactorError):
    """The other end sent what the protocol does not allow: a bad frame, an unknown message, a wrong step."""


class RemoteError(NfactorError):
    """The handler at the other end raised; ``kind`` is the name of its exception class."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind = kind
        self.text = text


class AskCycle(RemoteError):
    """Actors ask each other in a circle, and would wait for ever; the text names them."""

    def __init__(self, text: str) -> None:
        super().__init__("AskCycle", text)


class PeerDown(NfactorError):
    """The session with a peer ended while something was under way: whether it arrived is in doubt."""


class MailboxFull(NfactorError):
    """The mailbox (or the link towards it) is at its limit and the message was not taken."""


class ActorDead(NfactorError):
    """The addressed actor has stopped or never existed; the message was not handled."""


class DeadlockError(NfactorError):
    """A simulation in which nothing can ever happen again: every task waits and no deadline is set."""


class NotCompilable(CallerError):
    """An NF uses something that compiled code cannot do; the message begins with ``FILE:LINE:`` and says what to write
    instead."""

    def __init__(self, file: str, line: int, problem: str) -> None:
        super().__init__(f"{file}:{line}: {problem}")
        self.file = file
        self.line = line
        self.problem = problem


class EnginesDiffer(NfactorError, AssertionError):
    """Two engines were given the same and gave different answers; the message says to what, and both."""
