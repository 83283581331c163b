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
