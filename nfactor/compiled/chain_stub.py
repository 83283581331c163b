"""What every chain's text defines, for those who read or check the code that calls it."""


def chain(cx: int, pk: int, row: int) -> int:
    """Run a packet through the NFs; its code."""
    raise NotImplementedError


def farewell(cx: int, pk: int, row: int) -> None:
    """The flow has ended: what its NFs have to say, then ``deallocate``, NF by NF. Counts it."""
    raise NotImplementedError


def deallocate(cx: int, pk: int, row: int) -> None:
    """The flow leaves this runtime."""
    raise NotImplementedError


def every_part() -> int:
    """The bits of all parts that the chain's states have (``dataplane.changes``)."""
    raise NotImplementedError


def write_parts(row: int, at: int, parts: int) -> int:
    """Copy parts of the states in a row to an address; where they end."""
    raise NotImplementedError


def read_parts(row: int, at: int, end: int, parts: int) -> int:
    """Put parts of states in their places; where they end, or -1 if there are fewer octets, or more in a byte string
    than there may be."""
    raise NotImplementedError
