"""The messages that questions and answers travel in (``nfactor.protocols.calls``)."""

from nfactor.actors import message


@message(tag=1)
class Call:
    """A question from one role to another."""

    node: str
    actor: str
    """Who asks."""
    life: int
    """In which life of its node."""
    to: int
    """Which life of its node is asked, as in its address; 0: whichever there is."""
    number: int
    settled: int
    """Answers to its questions below this number are here, or not wanted any more."""
    body: bytes
    """The question itself, an encoded message."""


@message(tag=2, system=True)
class ControlCall:
    """The same on the system lane."""

    node: str
    actor: str
    life: int
    to: int
    number: int
    settled: int
    body: bytes


@message(tag=3, system=True)
class Answer:
    """The answer to a question."""

    life: int
    """The asker's, as in the question."""
    number: int
    body: bytes
    """An encoded message."""
