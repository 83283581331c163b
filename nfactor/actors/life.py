"""Where an actor stands."""

import enum


class Life(enum.Enum):
    """From its first start to its end."""

    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    """It failed or was asked to stop; its supervisor will restart or close it. Messages wait."""
    CLOSED = "closed"
