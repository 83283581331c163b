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
    except CallerError as error:
        return _say(error, EXIT_CALLER)
    except NfactorError as error:
        return _say(error, EXIT_FAILURE)
    except OSError as error:
        return _say(error, EXIT_FAILURE)
    except KeyboardInterrupt:
        return _say("interrupted", EXIT_INTERRUPTED)


def _run(arguments: Sequence[str]) -> int:
    from nfactor.cli.options import parse

    options = parse(arguments)
    if options is None:
        from nfactor.cli.demo import demo

        return demo()
    from nfactor.cli.replay import replay

    return replay(options)


def _say(problem: object, status: int) -> int:
    print(f"nfactor: {problem}", file=sys.stderr)
    return status
