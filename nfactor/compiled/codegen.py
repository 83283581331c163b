"""From the dialect to machine code: a small compiler on LLVM.

The dialect is the Python of ``arithmetic`` … ``sets`` and of the text that NFs become: functions of words, with ``if``,
``while``, ``for … in range``, ``return``, ``raise`` and ``try … except Exception``. A local variable is a word, or a
double or a condition if that is what it is first given. A function that may raise returns a bit that says so, which its
caller looks at; LLVM removes what cannot happen. Why not numba, which the first version used:
``docs/explanation/design.md``, "Two engines".
"""

import ast
import inspect
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import attrs
from llvmlite import ir

from nfactor.compiled.expression_code import ExpressionCode
from nfactor.compiled.instructions import BIT, DOUBLE, INSTRUCTIONS, WORD


@attrs.frozen
class Definition:
    """A function of the dialect and the names that it sees."""

    node: ast.FunctionDef
    names: Mapping[str, Any]

    @property
    def mark(self) -> str:
        """``inlined``, ``outlined`` or ``entry``."""
        decorator = self.node.decorator_list[0]
        assert isinstance(decorator, ast.Name)
        return decorator.id


class Library:
    """The functions that can be called, by name."""

    def __init__(self) -> None:
        self._definitions: dict[str, Definition] = {}
        self._may_fail: dict[str, bool] = {}

    def add_module(self, module: ModuleType) -> None:
        """The marked functions of a module of ours."""
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                self._add(Definition(node, vars(module)))

    def add_text(self, text: str) -> None:
        """The functions of a text; they see the library alone."""
        for node in ast.parse(text).body:
            assert isinstance(node, ast.FunctionDef)
            self._add(Definition(node, {}))

    def _add(self, definition: Definition) -> None:
        assert definition.node.name not in self._definitions, f"two functions are called {definition.node.name}"
        self._definitions[definition.node.name] = definition

    def __getitem__(self, name: str) -> Definition:
        return self._definitions[name]

    def entries(self) -> list[str]:
        """Names of the functions that Python calls."""
        return [name for name, definition in self._definitions.items() if definition.mark == "entry"]

    def may_fail(self, name: str) -> bool:
        """Whether the function can raise."""
        if name in INSTRUCTIONS or name == "range":
            return False
        if name not in self._may_fail:
            self._may_fail[name] = _raises(self, self._definitions[name].node.body)
        return self._may_fail[name]


def _raises(library: Library, statements: Iterable[ast.AST]) -> bool:
    for statement in statements:
        if isinstance(statement, ast.Raise):
            return True
        if isinstance(statement, ast.Try):
            if _raises(library, [*statement.handlers, *statement.orelse]):
                return True
            continue
        if (
            isinstance(statement, ast.Call)
            and isinstance(statement.func, ast.Name)
            and library.may_fail(statement.func.id)
        ):
            return True
        if _raises(library, ast.iter_child_nodes(statement)):
            return True
    return False


class ModuleCode:
    """One LLVM module. ``function`` compiles a function on demand, with everything that it calls."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.module = ir.Module("nfactor")
        self._functions: dict[str, tuple[ir.Function, list[Any]]] = {}

    def function(self, name: str) -> tuple[ir.Function, list[Any]]:
        """The function, and the types of what it returns beside the bit."""
        if name not in self._functions:
            definition = self.library[name]
            returned = _types(definition.node.returns)
            arguments = [DOUBLE if _is_float(a.annotation) else WORD for a in definition.node.args.args]
            shape = [BIT, *returned] if self.library.may_fail(name) else returned
            result: Any = ir.VoidType() if not shape else shape[0] if len(shape) == 1 else ir.LiteralStructType(shape)
            function = ir.Function(self.module, ir.FunctionType(result, arguments), name)
            self._functions[name] = function, returned
            if definition.mark == "entry":
                assert not self.library.may_fail(name)
            else:
                function.linkage = "internal"
                function.attributes.add("alwaysinline" if definition.mark == "inlined" else "noinline")
            FunctionCode(self, definition, function, returned).build()
        return self._functions[name]


def _types(annotation: ast.expr | None) -> list[Any]:
    match annotation:
        case None | ast.Constant(None):
            return []
        case ast.Name("bool"):
            return [BIT]
        case ast.Name("float"):
            return [DOUBLE]
        case ast.Subscript(ast.Name("tuple"), ast.Tuple(items)):
            return [kind for item in items for kind in _types(item)]
        case _:
            return [WORD]


def _is_float(annotation: ast.expr | None) -> bool:
    return isinstance(annotation, ast.Name) and annotation.id == "float"


class FunctionCode(ExpressionCode):
    """One function's body."""

    def __init__(self, module: ModuleCode, definition: Definition, function: ir.Function, returned: list[Any]) -> None:
        super().__init__(module, definition.names, ir.IRBuilder(function.append_basic_block("entry")))
        self._definition = definition
        self._function = function
        self._returned = returned
        self._loops: list[tuple[Any, Any]] = []
        self._may_fail = module.library.may_fail(definition.node.name)

    def build(self) -> None:
        """Compile it."""
        for argument, value in zip(self._definition.node.args.args, self._function.args, strict=True):
            self.assign(argument.arg, value)
        self.block(self._definition.node.body)
        if not self.builder.block.is_terminated:
            self._return([kind(0) if kind is not DOUBLE else DOUBLE(0.0) for kind in self._returned])

    def block(self, statements: list[ast.stmt]) -> None:
        """Statements, up to one behind which nothing comes."""
        for statement in statements:
            if self.builder.block.is_terminated:
                return
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        """One statement."""
        match node:
            case ast.Pass() | ast.Expr(ast.Constant()):
                pass
            case ast.Expr(ast.Call() as call):
                self.call(call)
            case ast.Assign(targets, value):
                self._assign(targets, self.values(value))
            case ast.AnnAssign(ast.Name(name), _, ast.expr() as value):
                self.assign(name, self.value(value))
            case ast.AugAssign(ast.Name(name), operator, value):
                self.assign(name, self.binary(operator, self.read(name), self.value(value)))
            case ast.If(test, body, orelse):
                self._if(test, body, orelse)
            case ast.While(test, body, []):
                self._while(test, body)
            case ast.For(ast.Name(name), ast.Call(ast.Name("range"), bounds), body, []):
                self._for(name, bounds, body)
            case ast.Return(None):
                self._return([])
            case ast.Return(value):
                assert value is not None
                self._return(self.values(value))
            case ast.Break():
                self.builder.branch(self._loops[-1][1])
            case ast.Continue():
                self.builder.branch(self._loops[-1][0])
            case ast.Raise():
                self.builder.branch(self.handler())
            case ast.Try(body, handlers, [], []):
                self._try(body, handlers[0].body)
            case _:
                raise NotImplementedError(ast.unparse(node))

    def _assign(self, targets: list[ast.expr], values: list[Any]) -> None:
        for target in targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            for name, value in zip(names, values, strict=True):
                assert isinstance(name, ast.Name)
                self.assign(name.id, value)

    def _if(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        then, other, after = (self.new_block(name) for name in ("then", "else", "after"))
        self.builder.cbranch(self.condition(test), then, other)
        for block, statements in ((then, body), (other, orelse)):
            self.builder.position_at_end(block)
            self.block(statements)
            if not self.builder.block.is_terminated:
                self.builder.branch(after)
        self.builder.position_at_end(after)

    def _while(self, test: ast.expr, body: list[ast.stmt]) -> None:
        head, inside, after = (self.new_block(name) for name in ("while", "turn", "after"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(self.condition(test), inside, after)
        self._turn(inside, head, after, body)

    def _turn(self, inside: Any, onward: Any, after: Any, body: list[ast.stmt]) -> None:
        self._loops.append((onward, after))
        self.builder.position_at_end(inside)
        self.block(body)
        if not self.builder.block.is_terminated:
            self.builder.branch(onward)
        self._loops.pop()
        self.builder.position_at_end(after)

    def _for(self, name: str, bounds: list[ast.expr], body: list[ast.stmt]) -> None:
        values = [self.word(bound) for bound in bounds]
        start, stop = (WORD(0), values[0]) if len(values) == 1 else values[:2]
        step = values[2] if len(values) == 3 else WORD(1)
        assert isinstance(step, ir.Constant), "the step of a loop is known"
        counter = self.slot(WORD)
        self.builder.store(start, counter)
        head, inside, onward, after = (self.new_block(part) for part in ("for", "turn", "next", "after"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        count = self.builder.load(counter)
        self.builder.cbranch(self.builder.icmp_signed("<" if step.constant > 0 else ">", count, stop), inside, after)
        self.builder.position_at_end(onward)
        self.builder.store(self.builder.add(self.builder.load(counter), step), counter)
        self.builder.branch(head)
        self.builder.position_at_end(inside)
        self.assign(name, self.builder.load(counter))
        self._turn(inside, onward, after, body)

    def _try(self, body: list[ast.stmt], handler: list[ast.stmt]) -> None:
        caught, after = self.new_block("except"), self.new_block("after")
        self.handlers.append(caught)
        self.block(body)
        self.handlers.pop()
        if not self.builder.block.is_terminated:
            self.builder.branch(after)
        self.builder.position_at_end(caught)
        self.block(handler)
        if not self.builder.block.is_terminated:
            self.builder.branch(after)
        self.builder.position_at_end(after)

    def handler(self) -> Any:
        """Where an exception goes: the innermost ``except``, or out of the function."""
        if self.handlers:
            return self.handlers[-1]
        if self.failed is None:
            self.failed = self.new_block("failed")
            with self.builder.goto_block(self.failed):
                nothing = [ir.Constant(kind, ir.Undefined) for kind in self._returned]
                self._return_all([BIT(1), *nothing])
        return self.failed

    def _return(self, values: list[Any]) -> None:
        converted = [self.convert(value, kind) for value, kind in zip(values, self._returned, strict=True)]
        self._return_all([BIT(0), *converted] if self._may_fail else converted)

    def _return_all(self, values: list[Any]) -> None:
        if not values:
            self.builder.ret_void()
        elif len(values) == 1:
            self.builder.ret(values[0])
        else:
            made: Any = ir.Constant(self._function.function_type.return_type, ir.Undefined)
            for place, value in enumerate(values):
                made = self.builder.insert_value(made, value, place)
            self.builder.ret(made)
