"""What a caller does wrong is said at once, where he did it, as CallerError; nothing is sent or begun."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from nfactor.actors import LinkLimits, Ref, open_node, open_supervisor
from nfactor.errors import CallerError
from tests.actors.network import Network
from tests.actors.samples import MESSAGES, Add, Counter, Total, virtual_time
from tests.actors.worlds import one_node, two_nodes


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"incarnation": 0}, "incarnation 0"),
        ({"incarnation": 2**32}, "incarnation 4294967296"),
        ({"incarnation": "1"}, "incarnation '1'"),
        ({"asks_max": 0}, "asks_max=0"),
        ({"asks_max": 1.5}, "asks_max=1.5"),
        ({"busy_poll_s": -1}, "busy_poll_s=-1"),
        ({"busy_poll_s": math.nan}, "busy_poll_s=nan"),
        ({"busy_poll_s": "1"}, "busy_poll_s='1'"),
        ({"limits": {"credit_max": 64}}, "use LinkLimits"),
        ({"messages": (Add, Total)}, "use Messages"),
        ({"name": ""}, "name of a node"),
        ({"name": 5}, "name of a node"),
        ({"name": "\ud800"}, "half of a character"),
        ({"transport": Network().transport("n", 40)}, "MTU of 40"),
        ({"transport": Network().transport("other")}, "same name"),
    ],
)
def test_a_node_cannot_be_opened_so(options: dict[str, Any], text: str) -> None:
    """It would fail much later otherwise: with the first datagram of a peer, in a task of the node."""

    @virtual_time
    async def run() -> None:
        everything = {"name": "n", "transport": None, "messages": MESSAGES, **options}
        with pytest.raises(CallerError, match=text):
            async with open_node(**everything):
                pass

    run()


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"in_flight_max": 0}, "in_flight_max=0: use a whole number of at least 1"),
        ({"queue_max": 1.5}, "queue_max=1.5"),
        ({"credit_max": True}, "credit_max=True: use a whole number of at least 16"),
        ({"give_up_s": 0}, "give_up_s=0: use a number above 0"),
        ({"give_up_s": math.nan}, "give_up_s=nan"),
        ({"acknowledge_after_s": -1}, "acknowledge_after_s=-1: use a number of at least 0"),
        ({"probe_after_s": "1"}, "probe_after_s='1'"),
        ({"resend_after_min_s": 2.0, "resend_after_max_s": 1.0}, "is more than resend_after_max_s"),
    ],
)
def test_limits_that_cannot_be(limits: dict[str, Any], text: str) -> None:
    with pytest.raises(CallerError, match=text):
        LinkLimits(**limits)


@pytest.mark.parametrize("where", ["b", "elsewhere"])
@pytest.mark.parametrize("wrong", [("b", 5, None), (5, "counter", None), ("b", "counter", "key")])
def test_an_address_that_is_none_is_no_ref(where: str, wrong: tuple[Any, ...]) -> None:
    """Sent to another node it was no envelope there, and its asker waited for ever."""
    with pytest.raises(CallerError, match="a ref has two names"):
        Ref(*wrong)
    if wrong[2] is not None:
        with pytest.raises(CallerError, match="a ref has two names"):
            Ref(where, "counter").at(wrong[2])


@virtual_time
async def test_a_name_that_cannot_travel_is_the_senders_mistake() -> None:
    async with two_nodes() as world:
        for ref in (world.a.ref("b", "\ud800"), world.a.ref("\ud800", "counter"), world.a.ref("b", "")):
            with pytest.raises(CallerError, match="as the name of"):
                await ref.tell(Add(1))
            with pytest.raises(CallerError, match="as the name of"):
                await ref.ask(Add(1), Total)


@pytest.mark.parametrize("within_s", [math.nan, "1", None.__class__])
def test_a_time_out_that_is_no_number(within_s: Any) -> None:
    @virtual_time
    async def run() -> None:
        async with one_node() as (node, supervisor):
            await supervisor.start(Counter, name="counter")
            with pytest.raises(CallerError, match="within_s="):
                await node.ref("here", "counter").ask(Add(1), Total, within_s=within_s)

    run()


@pytest.mark.parametrize(
    ("factory", "options", "text"),
    [
        (5, {}, "5 makes no actors"),
        (lambda: 5, {}, "made 5, which is no Actor"),
        (Counter, {"name": 5}, "name of an actor"),
        (Counter, {"name": ""}, "name of an actor"),
        (Counter, {"mailbox_size_max": "x"}, "mailbox_size_max='x'"),
        (Counter, {"mailbox_size_max": 0}, "mailbox_size_max=0"),
    ],
)
def test_an_actor_cannot_be_started_so(factory: Callable[[], Any], options: dict[str, Any], text: str) -> None:
    @virtual_time
    async def run() -> None:
        async with open_node("n", None, MESSAGES) as node, open_supervisor(node) as supervisor:
            with pytest.raises(CallerError, match=text):
                await supervisor.start(factory, **options)
            with pytest.raises(CallerError, match=text):
                supervisor.start_nowait(factory, **options)
            assert {} == node.cells

    run()
