"""Refs are typed by what their actors accept: mypy tells, and a class that says more than it handles is refused."""

from pathlib import Path

import pytest
from mypy import api

from nfactor.actors import Actor, ActorTable, Ref, handles
from nfactor.errors import CallerError
from tests.actors.samples import Add, Stop, Total

PROGRAM = """
from nfactor.actors import Actor, ActorTable, Node, Ref, Supervisor, handles, handles_keyed, message

@message(tag=1)
class Add:
    number: int

@message(tag=2)
class Read:
    pass

@message(tag=3)
class Other:
    pass

@message(tag=4)
class Introduce:
    to: Ref[Add]

class Counter(Actor[Add | Read]):
    @handles(Add)
    def add(self, message: Add) -> None: ...
    @handles(Read)
    def read(self, message: Read) -> Add:
        return Add(1)

class Rows(ActorTable[int, Add]):
    @handles_keyed(Add, creates=True)
    def add(self, key: bytes, message: Add) -> None: ...

class Anything(Actor):
    pass

async def main(node: Node, supervisor: Supervisor) -> None:
    counter = await supervisor.start(Counter)
    await counter.tell(Add(1))
    await counter.tell(Other())  # E1
    counter.tell_nowait(Other())  # E2
    await counter.ask(Other(), Add)  # E3
    number: int = (await counter.ask(Read(), Add)).number
    less: Ref[Add] = counter
    Introduce(counter)
    await less.tell(Read())  # E4
    rows = await supervisor.start(Rows)
    await rows.at(b"k").tell(Add(1))
    await rows.at(b"k").tell(Read())  # E5
    elsewhere = node.ref("there", "counter", accepts=Counter)
    await elsewhere.tell(Read())
    await elsewhere.tell(Other())  # E6
    untyped = node.ref("there", "counter")
    await untyped.tell(Other())
    more: Ref[Add | Other] = counter  # E7
    await (await supervisor.start(Anything)).tell(Other())
"""


def test_a_type_checker_refuses_what_an_actor_does_not_accept_and_nothing_else(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    out, _, _ = api.run(["--strict", "--no-error-summary", "--cache-dir", str(tmp_path), str(program)])
    lines = PROGRAM.splitlines()
    wrong = {int(line.split(":")[1]) for line in out.splitlines() if ": error:" in line}
    assert wrong == {number for number, line in enumerate(lines, 1) if "# E" in line}, out


def test_a_class_has_to_handle_what_it_says_that_it_accepts() -> None:
    with pytest.raises(CallerError, match="Half accepts Stop and has no handler for it"):

        class Half(Actor[Add | Stop]):
            @handles(Add)
            def add(self, message: Add) -> None: ...

    with pytest.raises(CallerError, match="Rows accepts Total and has no handler for it"):

        class Rows(ActorTable[int, Total]):
            pass


def test_a_type_argument_says_nothing_at_run_time() -> None:
    assert Ref[Add]("node", "actor") == Ref("node", "actor")
