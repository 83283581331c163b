"""What callers may pass: the checks that more than one file needs, each with an error that says what to do."""

import math
from collections.abc import Callable
from typing import Any

from nfactor.errors import CallerError


def number(name: str, value: object, least: float, *, above: bool = False) -> None:
    """Raises CallerError unless it is a number, and at least (or ``above``: more than) so much."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if not is_number or value < least or (above and value == least):  # type: ignore[operator]
        raise CallerError(f"{name}={value!r}: use a number {'above' if above else 'of at least'} {least}")


def whole(name: str, value: object, least: int) -> None:
    """Raises CallerError unless it is a whole number, and at least so much."""
    if type(value) is not int or value < least:
        raise CallerError(f"{name}={value!r}: use a whole number of at least {least}")


def text(what: str, value: object) -> None:
    """Raises CallerError unless it is a string that can travel, and not empty."""
    if not isinstance(value, str) or not value:
        raise CallerError(f"{value!r} as the name of {what}: use a string that is not empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CallerError(f"{value!r} as the name of {what}: it has half of a character") from None


def address(node_name: object, actor_name: object, key: object) -> None:
    """Raises CallerError for what is no address of an actor."""
    if not (isinstance(node_name, str) and isinstance(actor_name, str) and (key is None or isinstance(key, bytes))):
        raise CallerError(f"{node_name!r}, {actor_name!r}, {key!r}: a ref has two names, and bytes or None as its key")


def at_least(least: float, *, above: bool = False) -> Callable[[Any, Any, object], None]:
    """``number`` as a validator of attrs."""
    return lambda _, attribute, value: number(attribute.name, value, least, above=above)


def whole_at_least(least: int) -> Callable[[Any, Any, object], None]:
    """``whole`` as a validator of attrs."""
    return lambda _, attribute, value: whole(attribute.name, value, least)
