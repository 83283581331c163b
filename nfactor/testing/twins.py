"""Two engines that are given the same, and must answer the same: the reference, and the compiled one."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from nfactor.compiled.engine import CompiledEngine
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.engine import Engine, TimeOuts
from nfactor.dataplane.nf import NF
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.errors import EnginesDiffer, NotCompilable
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier, FlowKeyMode

_SHOWN: Final = 200


class Twins:
    """Both engines with a chain of ``make()`` each, and every operation done to both.

    All methods are those of ``Engine`` with the same meaning; they raise ``EnginesDiffer`` where the answers do. NFs
    that cannot be compiled are an error unless ``split``, under which they are called back.
    """

    def __init__(
        self,
        make: Callable[[], Sequence[NF]],
        *,
        mode: FlowKeyMode = "auto",
        flows_max: int = 1000,
        time_outs: TimeOuts = TimeOuts(),  # noqa: B008 - frozen
        common_clock: bool = False,
        split: bool = False,
    ) -> None:
        options: Any = {"flows_max": flows_max, "time_outs": time_outs, "common_clock": common_clock}
        self.reference: Engine = ReferenceEngine(Chain.of(make()), FlowClassifier(mode), **options)
        refusals: dict[str, NotCompilable] | None = {} if split else None
        self.compiled: Engine = CompiledEngine(Chain.of(make()), FlowClassifier(mode), **options, refusals=refusals)

    def process(self, burst: Burst) -> list[str]:
        """Copies of the burst through both; the reasons of the codes. Frames, flows and records are compared too."""
        left, right = (_copy(burst) for _ in range(2))
        codes, others = self.reference.process(left), self.compiled.process(right)
        names = [self.reference.reasons[code] for code in codes.tolist()]
        self._same("codes", names, [self.compiled.reasons[code] for code in others.tolist()])
        self._same("frames", left.frames(), right.frames())
        touched = (list(engine.changes.keys_of(engine.touched)) for engine in (self.reference, self.compiled))
        self._same("flows", *touched)
        burst.data[:] = left.data
        return names

    def do(self, operation: str, *arguments: Any) -> Any:
        """An operation on sets of flows; the answer of the reference."""
        answer, other = (getattr(engine, operation)(*arguments) for engine in (self.reference, self.compiled))
        self._same(operation, _plain(answer), _plain(other))
        return answer

    def check_all(self) -> None:
        """Compare everything that can be asked for, and changes nothing: records of NFs are taken."""
        self.do("copy", self.do("keys"))
        self._same("emitted records", self.reference.take_emitted(), self.compiled.take_emitted())
        left, right = self.reference.statistics(), self.compiled.statistics()
        for name in ("packets", "flows", "rows", "created", "expired", "refused", "nf_errors"):
            self._same(f"the count of {name}", getattr(left, name), getattr(right, name))

    def _same(self, what: str, expected: Any, found: Any) -> None:
        if expected != found:
            raise EnginesDiffer(f"{what}: {_difference(expected, found)}")


def _difference(expected: Any, found: Any) -> str:
    """The first that differs, and where it stands."""
    place = ""
    while isinstance(expected, list | tuple) and isinstance(found, list | tuple) and len(expected) == len(found):
        at = next(at for at, pair in enumerate(zip(expected, found, strict=True)) if pair[0] != pair[1])
        place, expected, found = f"{place}[{at}]", expected[at], found[at]
    texts = [f"{text[:_SHOWN]}…" if len(text) > _SHOWN else text for text in (repr(expected), repr(found))]
    return f"{place} the reference engine says {texts[0]}, the compiled one {texts[1]}".strip()


def _copy(burst: Burst) -> Burst:
    return Burst(burst.data.copy(), burst.offsets, burst.lengths, burst.wire_lengths, burst.times, burst.marks)


def _plain(answer: Any) -> Any:
    """Something that compares as a whole."""
    if isinstance(answer, np.ndarray):
        return answer.tolist()
    return tuple(map(_plain, answer)) if isinstance(answer, tuple) else answer
