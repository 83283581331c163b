"""How large flows are: distributions, as published or from a file.

``CAMPUS_TCP`` and ``CAMPUS_UDP`` are mixtures fitted to 4 billion flows of a university's Internet traffic: octets of
a flow on layer 3 (P. Jurkiewicz, G. Rzym, P. Boryło, "Flow length and size distributions in campus Internet traffic",
Computer Communications 167, 2021, whose data and fits are under the MIT licence). A file holds a cumulative
distribution: ``OCTETS PROBABILITY`` a line, as such tables are usually published.
"""

import math
from bisect import bisect_left
from pathlib import Path
from random import Random
from typing import Final, Protocol

import attrs

from nfactor.errors import CallerError


class Sizes(Protocol):
    """Something to draw a flow's octets from."""

    def draw(self, rng: Random) -> float:
        """Octets of one flow."""


@attrs.frozen
class Fixed:
    """Always the same."""

    octets: float

    def draw(self, rng: Random) -> float:
        """See ``Sizes``."""
        return self.octets


@attrs.frozen
class LogNormals:
    """A mixture: weight, sigma and median of each part."""

    parts: tuple[tuple[float, float, float], ...]

    def draw(self, rng: Random) -> float:
        """See ``Sizes``."""
        at = rng.random() * sum(weight for weight, _, _ in self.parts)
        for weight, sigma, median in self.parts:
            at -= weight
            if at <= 0:
                return median * math.exp(sigma * rng.gauss(0.0, 1.0))
        return self.parts[-1][2]


@attrs.frozen
class Cumulative:
    """Straight lines between points: octets, and the share of flows that have at most so many."""

    octets: tuple[float, ...]
    shares: tuple[float, ...]

    def draw(self, rng: Random) -> float:
        """See ``Sizes``."""
        share = rng.random()
        after = min(bisect_left(self.shares, share), len(self.shares) - 1)
        if after == 0:
            return self.octets[0]
        low, high = self.shares[after - 1], self.shares[after]
        part = (share - low) / (high - low) if high > low else 1.0
        return self.octets[after - 1] + part * (self.octets[after] - self.octets[after - 1])


def read_cdf(path: Path) -> Cumulative:
    """The distribution in a file. Raises ``CallerError`` naming file and line."""
    points: list[tuple[float, float]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"{path}: cannot read the flow sizes: {getattr(error, 'strerror', None) or error}") from None
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        try:
            octets, share = map(float, words)
        except ValueError:
            raise CallerError(f"{path}:{number}: a line is `OCTETS PROBABILITY`") from None
        if not (math.isfinite(octets) and octets >= 0 and 0 <= share <= 1):
            raise CallerError(f"{path}:{number}: octets from 0 on, and a probability from 0 to 1")
        if points and (octets < points[-1][0] or share < points[-1][1]):
            raise CallerError(f"{path}:{number}: neither octets nor probabilities may decrease")
        points.append((octets, share))
    if not points or points[-1][1] != 1:
        raise CallerError(f"{path}: the last probability must be 1")
    octets_of, shares = zip(*points, strict=True)
    return Cumulative(octets_of, shares)


CAMPUS_TCP: Final = LogNormals(
    (
        (0.3562, 0.3907, 97.45),
        (0.2460, 0.8091, 309.0),
        (0.2994, 1.0768, 2_127.0),
        (0.0806, 1.3083, 25_681.0),
        (0.0150, 1.3513, 416_681.0),
        (0.0021, 1.0825, 5_602_172.0),
        (0.0007, 1.0191, 53_432_349.0),
    )
)
CAMPUS_UDP: Final = LogNormals(
    (
        (0.6368, 0.3061, 119.0),
        (0.2028, 0.2264, 319.0),
        (0.1253, 0.5893, 630.0),
        (0.0277, 0.7596, 3_216.0),
        (0.0059, 1.1418, 29_017.0),
        (0.0012, 1.3011, 650_546.0),
        (0.0002, 1.7089, 12_790_970.0),
    )
)
