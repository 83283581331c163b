"""Which engine runs a chain, and which table a switch has: the compiled one where it can, and the log says why where it
cannot."""

from functools import cache
from importlib.util import find_spec
from typing import Any, Final, Literal, TypeAlias

import structlog

from nfactor.dataplane.chain import Chain
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.engine import FLOWS_MAX, Engine, TimeOuts
from nfactor.dataplane.owners import Owners
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.errors import CallerError, NotCompilable
from nfactor.packet.classifier import FlowClassifier

EngineKind: TypeAlias = Literal["auto", "reference", "compiled"]
ENGINES: Final = ("auto", "reference", "compiled")

_WITHOUT: Final = "llvmlite is not installed: pip install 'nfactor[compiled]'"
_log: Any = structlog.get_logger("nfactor.dataplane")


def open_engine(
    kind: EngineKind,
    chain: Chain,
    classifier: FlowClassifier,
    *,
    flows_max: int = FLOWS_MAX,
    time_outs: TimeOuts = TimeOuts(),  # noqa: B008 - frozen
    common_clock: bool = False,
) -> Engine:
    """An engine for the chain. ``auto``: compiled, with those NFs interpreted that cannot be compiled, and the
    reference engine where none can. The log says which it is, and of each NF that is interpreted, why.

    Raises ``CallerError`` (``NotCompilable``) under ``compiled`` where an NF cannot be compiled or LLVM is not there.
    """
    options: Any = {"flows_max": flows_max, "time_outs": time_outs, "common_clock": common_clock}
    if kind == "reference":
        return ReferenceEngine(chain, classifier, **options)
    if find_spec("llvmlite") is None:
        if kind == "compiled":
            raise CallerError(f"the compiled engine: {_WITHOUT}")
        _say("reference_engine", _names(chain), _WITHOUT)
        return ReferenceEngine(chain, classifier, **options)
    from nfactor.compiled.engine import CompiledEngine

    refusals: dict[str, NotCompilable] = {}
    try:
        engine = CompiledEngine(chain, classifier, **options, refusals=None if kind == "compiled" else refusals)
    except NotCompilable as error:
        if kind == "compiled":
            raise
        _say("reference_engine", _names(chain), str(error))
        return ReferenceEngine(chain, classifier, **options)
    for name, refusal in refusals.items():
        _say("interpreted", name, str(refusal))
    _log.info("compiled_engine", chain=_names(chain), code=engine.code_name)
    return engine


def open_owners(kind: EngineKind, classifier: FlowClassifier, *, flows_max: int = FLOWS_MAX) -> Owners:
    """The flow table of a virtual switch, which goes with engines of that kind.

    Raises ``CallerError`` under ``compiled`` where LLVM is not there."""
    if kind == "reference" or (kind == "auto" and find_spec("llvmlite") is None):
        return Dispatcher(classifier, flows_max=flows_max)
    if find_spec("llvmlite") is None:
        raise CallerError(f"the compiled flow table: {_WITHOUT}")
    from nfactor.compiled.dispatcher import CompiledDispatcher

    return CompiledDispatcher(classifier, flows_max=flows_max)


def _names(chain: Chain) -> str:
    return ",".join(function.name for function in chain.functions)


@cache
def _say(event: str, what: str, reason: str) -> None:
    """A warning, once: a cluster in one process opens an engine for each runtime."""
    _log.warning(event, chain=what, reason=reason)
