"""What an NF may say, said once and meant the same by both engines: each class here is checked on drawn traffic."""

from typing import Annotated, Any, Final

import pytest

from nfactor.dataplane import nf
from nfactor.dataplane.engine import TimeOuts
from nfactor.testing import check_nf
from nfactor.testing.packets import burst_of, udp
from nfactor.testing.twins import Twins

_SQUARES: Final = tuple(n * n for n in range(16))
_GRID: Final = ((1, 2, 3), (4, 5, 6))
_BIG: Final = 0xFF51AFD7ED558CCD


@nf.state
class Words:
    a: nf.u64
    b: nf.i64
    c: nf.u32
    d: nf.i8
    e: nf.f64
    small: Annotated[list[int], nf.array(nf.u16, 5)]
    signed: Annotated[list[int], nf.array(nf.i32, 3)]
    real: Annotated[list[float], nf.array(nf.f64, 2)]
    name: Annotated[bytes, nf.octets(12)]


@nf.record
class Row:
    mark: nf.u64
    number: nf.i32 = 7
    text: Annotated[bytes, nf.octets(20)] = b"none"
    ratio: nf.f64 = 0.5


class Arithmetic(nf.NF):
    """Operations of all kinds, on numbers of both signs."""

    State = Words

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        x, y = pkt.length - 60, pkt.payload_end - pkt.payload - 7
        fs.a = fs.a * 31 + x
        fs.b += x // (y or 1) - x % (abs(y) + 3)
        fs.c = (x << 3) ^ (y & 0x55) | (x >> 1)
        fs.d = -x + ~y
        fs.small[pkt.mark % 5] += max(x, y, 3) - min(x, y)
        fs.signed[-1] = (x - y) * (x + y)
        fs.signed[0] = divmod(x, 7)[1] + divmod(-x, 7)[0]
        return nf.FORWARD


class Unsigned(nf.NF):
    """Numbers beyond 63 bits."""

    State = Words

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        n = (pkt.mark ^ pkt.source_low) * _BIG & nf.MASK_64
        n = (n ^ n >> 33) * 0xC4CEB9FE1A85EC53 & nf.MASK_64
        fs.a = n >> pkt.length % 64
        fs.c = n % 1000 + n // 3 % 7
        if n > 1 << 63:
            fs.b = 1
        elif n >= fs.a and n != pkt.mark:
            fs.b = -1
        fs.d = 1 if n < -3 else 2
        fs.small[0] = max(n, fs.a) & 0xFFFF
        return nf.FORWARD


class Loops(nf.NF):
    """Loops with breaks, over ranges, arrays and tuples; tables by index."""

    State = Words

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        total, at = 0, pkt.payload
        while at < pkt.payload_end:
            octet = pkt.data[at]
            at += 1
            if octet == 13:
                continue
            if octet > 127:
                break
            total += _SQUARES[octet & 15] + _GRID[octet & 1][octet % 3]
        for index in range(4, -1, -2):
            fs.small[index] += index
        for index, value in enumerate(fs.small):
            total += index * value
        for factor in (3, 5):
            total *= factor
        for array in (fs.small, fs.signed):
            array[0] = array[0] ^ total
        fs.a = total
        fs.b = self._first(fs.small, total)
        return nf.FORWARD

    def _first(self, values: list[int], least: int) -> int:
        for index in range(len(values)):
            if values[index] > least:
                return index
        return -1


class Conditions(nf.NF):
    """Comparisons in a row, membership, choices."""

    State = Words
    drop_reasons = ("odd", "even")

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        fs.c += 1 if 20 < pkt.length <= 70 else 2 if pkt.protocol in (6, 17) else 3
        if pkt.fragment or (pkt.l4 >= 0 and not pkt.foreign and pkt.tcp_flags & 2):
            fs.d ^= 1
        ok = pkt.vlan == 0 or pkt.direction
        fs.b += bool(ok) + (pkt.version == 4)
        if fs.c % 5 == 4:
            return nf.drop(fs.c & 1)
        return nf.DROP if fs.c % 7 == 0 else nf.FORWARD


class Reals(nf.NF):
    """An average."""

    State = Words

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        fs.e = fs.e * 0.875 + pkt.length * 0.125
        fs.real[1] = fs.e / (1.0 + fs.real[0])
        fs.c = int(fs.e) if fs.e > 50.0 else int(-fs.e) + 100
        fs.b = int(float(pkt.mark) * 1.5)
        return nf.FORWARD


class Texts(nf.NF):
    """Byte strings, of packets, states and constants."""

    State = Words
    records = (Row,)

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        if pkt.payload < pkt.payload_end:
            fs.name = pkt.data[pkt.payload : pkt.payload_end]
            pkt.emit(Row(mark=pkt.mark, text=fs.name, number=fs.name[0] - 300))
        else:
            fs.name = b"empty"
            pkt.emit(Row(mark=pkt.mark))
        fs.c = len(fs.name)
        fs.small[0] = 0x4241
        pkt.emit(Row(pkt.mark, text=nf.text(fs.small, 3), ratio=pkt.length / 3))
        return nf.FORWARD

    def flow_expires(self, flow: nf.Flow, fs: Any) -> None:
        flow.emit(Row(mark=flow.initiator, text=flow.key))


@nf.state
class Totals:
    packets: nf.u64
    widest: nf.u32


@nf.record
class Limit:
    port: nf.u16
    octets: nf.u32


class Tables(nf.NF):
    """Configuration, numbers to scribble in, and a state of the runtime."""

    State = Words

    def __init__(self) -> None:
        self.limits: nf.Table[Limit] = nf.Table(Limit, [Limit(80, 60), Limit(53, 1000)])
        self.ports: nf.Table[int] = nf.Table(nf.u16, (80, 443))
        self.scratch = nf.numbers(nf.u32, 4)
        self.step = 3

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        for index in range(len(self.scratch)):
            self.scratch[index] = 0
        for limit in self.limits:
            if pkt.target_port == limit.port and pkt.length > limit.octets:
                self.scratch[1] += self.step
        for port in self.ports:
            self.scratch[2] += port == pkt.source_port
        fs.a += self.scratch[1] + 256 * self.scratch[2] + len(self.limits)
        fs.c = self.limits[pkt.mark % 2].octets
        return nf.FORWARD


@pytest.mark.parametrize("make", [Arithmetic, Unsigned, Loops, Conditions, Reals, Texts, Tables])
def test_it_means_the_same_to_both_engines(make: type[nf.NF]) -> None:
    for seed in range(3):
        check_nf(make, seed=seed)


class Counting(nf.NF):
    """Shared by all flows of a runtime."""

    def __init__(self) -> None:
        self.totals = Totals(0, 0)

    def process_pkt(self, pkt: nf.Packet, fs: None) -> int:
        self.totals.packets += 1
        if pkt.length > self.totals.widest:
            self.totals.widest = pkt.length
        return nf.FORWARD


def packets(count: int) -> list[bytes]:
    return [udp("10.0.0.1", 1, "10.0.0.2", 2, bytes(range(n % 40))) for n in range(count)]


def test_a_state_object_of_the_nf_is_shared_by_all_flows_of_its_runtime() -> None:
    made: list[Counting] = []

    def make() -> list[nf.NF]:
        made.append(Counting())
        return [made[-1]]

    Twins(make).process(burst_of(packets(50)))
    assert [nf_.totals for nf_ in made] == [Totals(50, 81)] * 2


def test_a_table_is_replaced_between_two_bursts_and_nothing_is_compiled_again() -> None:
    made: list[Tables] = []

    def make() -> list[nf.NF]:
        made.append(Tables())
        return [made[-1]]

    twins = Twins(make)
    twins.process(burst_of(packets(10)))
    for tables in made:
        tables.limits.replace([Limit(2, 1), Limit(2, 2), Limit(3, 3)])
    twins.process(burst_of(packets(10)))
    twins.check_all()


class Careless(nf.NF):
    """Raises at one packet or another."""

    State = Words

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        fs.c += 1
        if pkt.mark % 7 == 1:
            fs.d = fs.small[pkt.mark]
        if pkt.mark % 7 == 2:
            fs.b = 5 // (pkt.mark % 7 - 2)
        if pkt.mark % 7 == 3:
            raise ValueError("three")
        if pkt.mark % 7 == 4:
            fs.a = 1 << (3 - pkt.mark)
        if pkt.mark % 7 == 5:
            pkt.data[len(pkt.data)] = 1
        assert pkt.mark % 7 != 6, "six"
        fs.d += 1
        return nf.FORWARD


def test_an_exception_costs_its_packet_in_both_engines_and_the_first_is_told_with_its_line() -> None:
    twins = Twins(lambda: [Careless()], time_outs=TimeOuts(never=True))
    codes = twins.process(burst_of(packets(70)))
    twins.check_all()
    assert (59, 11) == (codes.count("nf_error"), codes.count("forward"))
    sample = twins.compiled.statistics().nf_error_sample
    assert "test_language.py" in sample
    assert "fs.b = 5 // (pkt.mark % 7 - 2)" in sample
    assert "ZeroDivisionError" in sample


class Wide(nf.NF):
    """Arithmetic beyond 64 bits, where the whole number matters."""

    State = Words

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        product = (pkt.mark + (1 << 62)) * 4
        return nf.DROP if product > 5 else nf.FORWARD


def test_what_would_not_fit_in_64_bits_is_an_error_and_not_another_number() -> None:
    twins = Twins(lambda: [Wide()])
    compiled = twins.compiled
    assert [compiled.reasons[code] for code in compiled.process(burst_of(packets(1)))] == ["nf_error"]
    assert "more than 64 bits" in compiled.statistics().nf_error_sample
