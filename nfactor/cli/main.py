"""The ``nfactor`` command: reads the options, runs the command, and turns errors into one line and an exit status."""

import sys
from collections.abc import Sequence

from nfactor.errors import CallerError, NfactorError

EXIT_FAILURE = 1
EXIT_CALLER = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, 1 for a failure, 2 for a caller's mistake, 130 for Ctrl-C."""
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except (NfactorError, OSError, KeyboardInterrupt, BaseExceptionGroup) as error:
        return _answer(error)


def _answer(error: BaseException) -> int:
    """One line and a status for what may go wrong; anything else is a bug of ours and keeps its traceback.

    What is raised inside a nursery comes out in a group, with whatever the cancelled neighbours raised.
    """
    match error:
        case BaseExceptionGroup():
            foreseen, unforeseen = error.split((NfactorError, OSError, KeyboardInterrupt))
            if unforeseen is not None or foreseen is None:
                raise error
            return _answer(_leaves(foreseen)[0])
        case KeyboardInterrupt():
            return _say("interrupted", EXIT_INTERRUPTED)
        case CallerError():
            return _say(error, EXIT_CALLER)
        case _:
            return _say(error, EXIT_FAILURE)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for each in group.exceptions:
        leaves += _leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return leaves


def _run(arguments: Sequence[str]) -> int:
    from nfactor.cli.logs import configure_logs
    from nfactor.cli.options import CompileOptions, GenerateOptions, SimulateOptions, parse

    configure_logs()

    options = parse(arguments)
    if options is None:
        from nfactor.cli.demo import demo

        return demo()
    if isinstance(options, CompileOptions):
        from nfactor.cli.compiling import compile_chain

        return compile_chain(options)
    if isinstance(options, GenerateOptions):
        from nfactor.cli.generating import generate_capture

        return generate_capture(options)
    if isinstance(options, SimulateOptions):
        from nfactor.cli.simulating import simulate

        return simulate(options)
    from nfactor.cli.replay import replay

    return replay(options)


def _say(problem: object, status: int) -> int:
    line = " ".join(str(problem).split())
    print(f"nfactor: {line}", file=sys.stderr)
    return status
