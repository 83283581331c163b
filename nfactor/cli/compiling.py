"""``nfactor compile``: makes the machine code of a chain ahead of time, so that its first run starts at once."""

import time

from rich.console import Console

from nfactor.cli.functions import chain_factory
from nfactor.cli.options import CompileOptions
from nfactor.compiled.engines import open_engine
from nfactor.packet.classifier import FlowClassifier


def compile_chain(options: CompileOptions) -> int:
    """The command. Returns the exit status; raises ``NotCompilable`` where an NF cannot be compiled."""
    chain = chain_factory(options.chain, options.rules)()
    begin = time.perf_counter()
    open_engine("compiled", chain, FlowClassifier("auto"))
    from nfactor.compiled.native import directory  # it needs LLVM, which is there by now

    console = Console(soft_wrap=True, highlight=False)
    names = ",".join(function.name for function in chain.functions)
    console.print(f"{names}: ready in {time.perf_counter() - begin:.1f} s; kept in {directory()}")
    return 0
