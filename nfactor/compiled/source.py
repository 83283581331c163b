"""The source of a function: its syntax tree, the names that it sees, and where its lines stand in which file."""

import ast
import inspect
import textwrap
from functools import cached_property
from types import FunctionType
from typing import Any

from nfactor.errors import NotCompilable


class Source:
    """Raises ``NotCompilable`` where there is no source to read (a lambda, or what was typed at a prompt)."""

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self.file = inspect.getsourcefile(function) or "?"
        self._first = function.__code__.co_firstlineno
        try:
            lines, self._first = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, SyntaxError, TypeError):
            raise NotCompilable(self.file, self._first, f"the source of {function.__name__} cannot be read") from None
        node = tree.body[0]
        if not isinstance(node, ast.FunctionDef):
            raise NotCompilable(self.file, self._first, f"{function.__name__} is no plain function; define it with def")
        self.node = node
        self.parameters = [
            argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        ]
        self.name = node.name

    @cached_property
    def locals(self) -> frozenset[str]:
        """Parameters and every name that is assigned to."""
        stored = {
            name.id for name in ast.walk(self.node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        }
        return frozenset(stored | set(self.parameters))

    @cached_property
    def globals(self) -> dict[str, Any]:
        """Names of the module and of functions around this one."""
        closure = self.function.__closure__ or ()
        free = dict(zip(self.function.__code__.co_freevars, (cell.cell_contents for cell in closure), strict=True))
        return {**self.function.__globals__, **free}

    def line(self, node: ast.AST) -> int:
        """The line in the file."""
        return self._first + getattr(node, "lineno", 1) - 1

    def text(self, node: ast.AST) -> str:
        """The expression as its author wrote it, more or less."""
        return ast.unparse(node)
