"""Where the command line's log goes: to stderr, warnings and worse; everything with ``NFACTOR_DEBUG=1``."""

import logging
import os
import sys
from typing import Any

import structlog

DEBUG = "NFACTOR_DEBUG"
"""The environment variable that asks for everything that there is to know."""


def configure_logs() -> None:
    """To be called once per process, by whoever owns it."""
    level = logging.DEBUG if os.environ.get(DEBUG) else logging.WARNING
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_to_stderr,
    )


def _to_stderr(*names: object) -> Any:
    return structlog.PrintLogger(sys.stderr)  # whatever that is when something is to be said
