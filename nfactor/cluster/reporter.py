"""Tells an observer outside what does not come out as a packet: the fates of dropped packets, and emitted records.

Both are messages over the reliable link, sent by a task of their own with back-pressure, so that the packet loop never
waits for the control network. Where nobody observes, nothing is kept.
"""

from collections import deque
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import trio

from nfactor.actors import Ref
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import EmittedRecords, PacketFates
from nfactor.dataplane.state import schema_of

RECORDS_PER_MESSAGE_MAX = 256
"""Records that travel in one message, at most."""


def record_name(cls: type) -> str:
    """What a record class is called between nodes."""
    return f"{cls.__module__}.{cls.__qualname__}"


class Reporter:
    """Call ``wake`` after packets were processed; ``run`` does the telling."""

    def __init__(self, ledger: Ledger, observer: Ref | None) -> None:
        self._ledger = ledger
        self._observer = observer
        self._messages: deque[PacketFates | EmittedRecords] = deque()
        self._woken = trio.Event()
        self.records = 0
        """Records handed over so far."""

    def emitted(self, records: Sequence[Any]) -> None:
        """Records that left the engine, in order."""
        if not records:
            return
        for cls, group in groupby(records, type):
            run = list(group)
            self.records += len(run)
            schema = schema_of(cls)
            for start in range(0, len(run), RECORDS_PER_MESSAGE_MAX):
                payload = b"".join(schema.pack(record) for record in run[start : start + RECORDS_PER_MESSAGE_MAX])
                self._messages.append(EmittedRecords(self._ledger.node, record_name(cls), schema.version, payload))
        self.wake()

    def wake(self) -> None:
        """There may be something to tell."""
        fates = self._ledger.take_fates()
        if fates is not None:
            self._messages.append(fates)
        if self._observer is None:
            self._messages.clear()
        elif self._messages:
            self._woken.set()

    async def run(self) -> None:
        """Tell what there is to tell, for ever."""
        while True:
            await self._woken.wait()
            self._woken = trio.Event()
            while self._messages and self._observer is not None:
                await self._observer.tell(self._messages[0])
                self._messages.popleft()
