"""Compiled chains on disk: found again, never stale, and not needed."""

import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nfactor.cli.main import main
from nfactor.compiled import native
from nfactor.compiled.engine import CompiledEngine
from nfactor.dataplane.chain import Chain
from nfactor.functions.monitor import Monitor
from nfactor.packet.classifier import FlowClassifier
from nfactor.testing.packets import burst_of, udp

PACKETS = [udp("10.0.0.1", 1, "10.0.0.2", 2)] * 3


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(native.CACHE_DIRECTORY, str(tmp_path / "cache"))
    native.load.cache_clear()
    return tmp_path / "cache"


def engine() -> CompiledEngine:
    native.load.cache_clear()
    return CompiledEngine(Chain.of([Monitor()]), FlowClassifier("auto"))


def works(opened: CompiledEngine) -> bool:
    codes: list[int] = opened.process(burst_of(PACKETS)).tolist()
    return codes == [0, 0, 0]


def test_code_is_kept_and_found_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert works(engine())
    (kept,) = folder.glob("*.o")
    monkeypatch.setattr(native, "compiled", lambda text: pytest.fail("it is compiled again"))
    assert works(engine())
    assert [kept] == list(folder.iterdir()), "and no draft is left"


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied", "a folder in its place"])
def test_damaged_code_is_made_again(folder: Path, damage: str) -> None:
    assert works(engine())
    (kept,) = folder.glob("*.o")
    octets = kept.read_bytes()
    if damage == "cut":
        kept.write_bytes(octets[: len(octets) // 2])
    elif damage == "changed":
        kept.write_bytes(octets[:5000] + bytes([octets[5000] ^ 1]) + octets[5001:])
    elif damage == "emptied":
        kept.write_bytes(b"")
    else:
        kept.unlink()
        kept.mkdir()
    assert works(engine())


def test_a_folder_that_cannot_be_written_costs_the_keeping_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(native.CACHE_DIRECTORY, str(tmp_path / "file" / "below"))
    assert works(engine())
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    monkeypatch.setenv(native.CACHE_DIRECTORY, str(folder))
    assert works(engine())


def test_the_name_follows_from_the_text_and_from_all_that_is_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {native.name_of("one"), native.name_of("two")}
    monkeypatch.setattr(native, "_library_text", lambda: "another version of LLVM, or of ourselves")
    names.add(native.name_of("one"))
    assert len(names) == 3


PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
from nfactor.compiled.engine import CompiledEngine
from nfactor.dataplane.chain import Chain
from nfactor.packet.classifier import FlowClassifier
from nfactor.testing.packets import burst_of, udp
from edited import Edited
engine = CompiledEngine(Chain.of([Edited()]), FlowClassifier("auto"))
print(engine.reasons[engine.process(burst_of([udp("10.0.0.1", 1, "10.0.0.2", 2)]))[0]])
"""


def test_an_edited_network_function_never_runs_as_it_was_before(folder: Path, tmp_path: Path) -> None:
    """A helper in another module, a constant of it, the NF itself: whatever is edited, the next run knows."""
    (tmp_path / "helper.py").write_text("LIMIT = 5\n\ndef wrong(number):\n    return number > LIMIT\n")
    nf = """
        from nfactor import nf
        from helper import wrong

        class Edited(nf.NF):
            drop_reasons = ("wrong",)

            def process_pkt(self, pkt, fs):
                return nf.drop(0) if wrong(pkt.length) else nf.FORWARD
    """
    (tmp_path / "edited.py").write_text(textwrap.dedent(nf))

    def run() -> str:
        environment = {**os.environ, native.CACHE_DIRECTORY: str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        program = PROGRAM.format(folder=str(tmp_path))
        ran = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    assert run() == "edited_wrong"
    (tmp_path / "helper.py").write_text("LIMIT = 500\n\ndef wrong(number):\n    return number > LIMIT\n")
    assert run() == "forward"
    (tmp_path / "helper.py").write_text("LIMIT = 500\n\ndef wrong(number):\n    return number < LIMIT\n")
    assert run() == "edited_wrong"
    (tmp_path / "edited.py").write_text(textwrap.dedent(nf).replace("nf.drop(0)", "nf.DROP"))
    assert run() == "edited"
    assert len(list(folder.glob("*.o"))) == 4


def test_the_command_compiles_a_chain_ahead_of_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "--chain", "monitor"]) == 0
    assert f"kept in {folder}" in capsys.readouterr().out
    assert len(list(folder.glob("*.o"))) == 1
    assert main(["compile", "--chain", "monitor,nothing"]) == 2
