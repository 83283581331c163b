"""What a judge says: a promise was broken, of which flow or packet, and what was seen."""


class Violation(AssertionError):
    """A promise was broken."""
