"""Where a message is once it was told, and in which order messages are handled."""

import pytest

from tests.actors.samples import Add, Sleeper, virtual_time
from tests.actors.worlds import one_node


@pytest.mark.parametrize("encode_local", [False, True])
@virtual_time
async def test_a_message_is_in_the_mailbox_when_it_was_told_and_they_are_handled_in_order(encode_local: bool) -> None:
    async with one_node(encode_local=encode_local) as (node, supervisor):
        sleeper = Sleeper()
        ref = await supervisor.start(lambda: sleeper, name="sleeper")
        for number in range(100):
            ref.tell_nowait(Add(number))
            assert node.statistics().mailboxes["sleeper"].received == 2 * number + 1
            await ref.tell(Add(number))
        await ref.ask(Add(100))
        numbers = [message.number for message in sleeper.seen if isinstance(message, Add)]
        assert numbers == sorted(numbers)
        assert len(numbers) == 201
