"""How an actor was started."""

import attrs

from nfactor.actors.mailbox import SIZE_MAX, Overflow


@attrs.frozen
class Options:
    """What an actor was started with; many share one."""

    restart: str = "permanent"
    mailbox_size_max: int = SIZE_MAX
    overflow: Overflow = "refuse"
