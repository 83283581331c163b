"""Mutants that no schedule catches, and why. A name that is not here has to be caught."""

SURVIVORS: dict[str, str] = {}
