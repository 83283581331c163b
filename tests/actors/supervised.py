"""A supervisor under test: children that write down their lives, and what rises out of a block."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import attrs
import pytest
import trio
import trio.testing

from nfactor.actors import Actor, Node, Strategy, Supervisor, open_node, open_supervisor
from tests.actors.samples import MESSAGES, Counter, Watcher


@attrs.define
class Journal:
    """What happened to the children, in order."""

    lines: list[str] = attrs.Factory(list)

    def child(self, name: str) -> Callable[[], Actor]:
        """A factory of a child that writes down its life."""

        class Child(Counter):
            async def started(self) -> None:
                journal.lines.append(f"+{name}")

            async def stopping(self) -> None:
                journal.lines.append(f"-{name}")

        journal = self
        return Child

    def taken(self) -> list[str]:
        """The lines since the last call."""
        lines, self.lines = self.lines, []
        return lines


@asynccontextmanager
async def supervised(
    strategy: Strategy = "one-for-one", instruments: tuple[Watcher, ...] = (), **options: float
) -> AsyncIterator[tuple[Node, Supervisor]]:
    """A node and a supervisor."""
    async with (
        open_node("here", None, MESSAGES, instruments=instruments) as node,
        open_supervisor(node, strategy=strategy, **options) as supervisor,  # type: ignore[arg-type]
    ):
        yield node, supervisor


def flat(group: BaseExceptionGroup[BaseException]) -> list[str]:
    """The exceptions in a group, however deep."""
    found = []
    for error in group.exceptions:
        found.extend(flat(error) if isinstance(error, BaseExceptionGroup) else [repr(error)])
    return found


@contextmanager
def rises(*expected: str) -> Iterator[None]:
    """The block ends with exactly these exceptions, in whatever groups."""
    with pytest.raises(BaseExceptionGroup) as caught:
        yield
    assert list(expected) == flat(caught.value)


async def settle() -> None:
    """Until nothing happens any more."""
    await trio.testing.wait_all_tasks_blocked()
