"""Mistakes that are found when a chain is built: file and line, what it is, and what to write instead."""

import inspect
from typing import Annotated, Any

import pytest

from nfactor.compiled.engine import CompiledEngine
from nfactor.dataplane import nf
from nfactor.dataplane.chain import Chain
from nfactor.errors import NotCompilable
from nfactor.packet.classifier import FlowClassifier


@nf.state
class Some:
    count: nf.u32
    few: Annotated[list[int], nf.array(nf.u8, 3)]


class Refused(nf.NF):
    State = Some
    names: list[str] = []  # noqa: RUF012 - that is what is refused


class Comprehension(Refused):
    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        fs.few = [2 * octet for octet in pkt.data]  # BAD a list comprehension cannot be compiled; write a loop
        return nf.FORWARD


class UnknownField(Refused):
    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        fs.cuont += 1  # BAD Some has no field cuont; it has count, few
        return nf.FORWARD


class UnknownPacketField(Refused):
    def process_pkt(self, pkt: Any, fs: Any) -> int:
        fs.count = pkt.lenght  # BAD pkt.lenght is not known to compiled code; there is data, direction
        return nf.FORWARD


class RealForInteger(Refused):
    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        fs.count = pkt.length / 2  # BAD a real number for fs.count, which is u32; convert it: int(…)
        return nf.FORWARD


class Strings(Refused):
    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        fs.count = len(f"{pkt.length}")  # BAD an f-string cannot be compiled; there are no strings in compiled code
        return nf.FORWARD


class Lists(Refused):
    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        return len(self.names)  # BAD self.names is a list, which compiled code cannot share; make it nf.numbers


class OwnAttribute(Refused):
    def __init__(self) -> None:
        self.seen = 0

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        self.seen += 1  # BAD self.seen belongs to the NF, not to a flow; keep it in the flow's state
        return nf.FORWARD


class Outside(Refused):
    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        fs.count = fs.few[3]  # BAD fs.few[3]: there are 3, from 0 on
        return nf.FORWARD


class Tries(Refused):
    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        try:  # BAD try cannot be compiled; an exception always costs the packet
            fs.count += 1
        except ValueError:
            fs.count = 0
        return nf.FORWARD


class NoVerdict(Refused):
    # BAD returns a value on some ways and nothing on others
    def process_pkt(self, pkt: nf.Packet, fs: Any) -> Any:
        if pkt.length:
            return nf.FORWARD


class MaybeUnset(Refused):
    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        while pkt.length > 3:
            verdict = nf.FORWARD
            break
        return verdict  # type: ignore[possibly-undefined] # BAD verdict may not have a value here; give it one before


class Recursive(Refused):
    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        return self.process_pkt(pkt, fs)  # BAD process_pkt calls itself; write a loop


class TwoSigns(Refused):
    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        best = -1
        if pkt.mark > 5:
            best = pkt.mark  # BAD best may be negative (-1) and beyond 63 bits
        return best


class Calls(Refused):
    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        fs.count = sum(fs.few)  # BAD sum cannot be called from compiled code; write a loop
        return nf.FORWARD


class OwnAllocation(Refused):
    # BAD allocate_new_fs cannot be compiled; give the State's fields their first values
    def allocate_new_fs(self) -> Any:
        return Some(3, [0, 0, 0])

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        return nf.FORWARD


@pytest.mark.parametrize("refused", Refused.__subclasses__())
def test_a_mistake_is_told_with_its_file_its_line_and_what_to_write_instead(refused: type[nf.NF]) -> None:
    lines, first = inspect.getsourcelines(refused)
    at, text = next((at, text) for at, text in enumerate(lines) if "# BAD" in text)
    line, expected = first + at + text.strip().startswith("#"), text.split("# BAD ")[1].strip()
    with pytest.raises(NotCompilable) as caught:
        CompiledEngine(Chain.of([refused()]), FlowClassifier("auto"))
    assert str(caught.value).startswith(f"{__file__}:{line}: ")
    assert expected in str(caught.value)
