"""The codec of a cluster: every message class that crosses between its nodes."""

from nfactor.actors import Messages
from nfactor.actors.message import tag_of
from nfactor.cluster import call_messages, lease_messages, messages, outcome_messages, recovery_messages

CLASSES = tuple(
    {
        cls: None
        for module in (call_messages, lease_messages, messages, outcome_messages, recovery_messages)
        for cls in vars(module).values()
        if isinstance(cls, type) and tag_of(cls) is not None
    }
)
MESSAGES = Messages(*CLASSES)
"""Pass it to every node."""
