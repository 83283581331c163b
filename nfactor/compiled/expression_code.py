"""Expressions of the dialect, as LLVM values: words, doubles and conditions."""

import ast
from collections.abc import Mapping
from typing import Any, Final

from llvmlite import ir

from nfactor.compiled.instructions import ACCESSES, BIT, DOUBLE, INSTRUCTIONS, WORD, floor_divide, floor_rest
from nfactor.compiled.pieces import piece_of

_ON_WORDS: Final[dict[type[ast.operator], str]] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.LShift: "shl",
    ast.RShift: "ashr",
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
    ast.BitXor: "xor",
}
_ON_DOUBLES: Final[dict[type[ast.operator], str]] = {
    ast.Add: "fadd",
    ast.Sub: "fsub",
    ast.Mult: "fmul",
    ast.Div: "fdiv",
}
_COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_SIGN: Final = 1 << 63


class ExpressionCode:
    """The expressions of one function; ``module`` is the ``ModuleCode`` that it becomes a part of."""

    def __init__(self, module: Any, names: Mapping[str, Any], builder: ir.IRBuilder) -> None:
        self.module = module
        self.builder = builder
        self._names = names
        self._slots: dict[str, Any] = {}
        self.handlers: list[Any] = []
        self.failed: Any = None

    # ---------------------------------------------------------------- variables

    def new_block(self, name: str) -> Any:
        """A block of instructions, still empty."""
        return self.builder.function.append_basic_block(name)

    def slot(self, kind: Any) -> Any:
        """Room for a variable; LLVM keeps it in a register."""
        with self.builder.goto_entry_block():
            return self.builder.alloca(kind)

    def assign(self, name: str, value: Any) -> None:
        """Give a local variable a value."""
        if name not in self._slots:
            self._slots[name] = self.slot(value.type)
        slot = self._slots[name]
        self.builder.store(self.convert(value, slot.type.pointee), slot)

    def read(self, name: str) -> Any:
        """What a name stands for."""
        if name in self._slots:
            return self.builder.load(self._slots[name])
        number = self._names[name]
        assert isinstance(number, int), f"{name} is no number"
        return _constant(number)

    def convert(self, value: Any, kind: Any) -> Any:
        """The value as that type."""
        if value.type == kind:
            return value
        if kind == WORD and value.type == BIT:
            return self.builder.zext(value, WORD)
        if kind == BIT and value.type == WORD:
            return self.builder.icmp_signed("!=", value, WORD(0))
        raise AssertionError(f"{value.type} where {kind} is needed")

    # ---------------------------------------------------------------- values

    def word(self, node: ast.expr) -> Any:
        """The expression as a word."""
        return self.convert(self.value(node), WORD)

    def condition(self, node: ast.expr) -> Any:
        """The expression as a condition."""
        return self.convert(self.value(node), BIT)

    def values(self, node: ast.expr) -> list[Any]:
        """The parts of a tuple; one value of anything else."""
        if isinstance(node, ast.Tuple):
            return [self.value(item) for item in node.elts]
        if isinstance(node, ast.Call):
            return self.call(node)
        return [self.value(node)]

    def value(self, node: ast.expr) -> Any:
        """One value."""
        match node:
            case ast.Constant(bool() as known):
                return BIT(int(known))
            case ast.Constant(int() as number):
                return _constant(number)
            case ast.Constant(float() as number):
                return DOUBLE(number)
            case ast.Name(name):
                return self.read(name)
            case ast.BinOp(left, operator, right):
                return self.binary(operator, self.value(left), self.value(right))
            case ast.UnaryOp(ast.USub(), ast.Constant(int() as number)):
                return _constant(-number)
            case ast.UnaryOp(ast.Not(), operand):
                return self.builder.not_(self.condition(operand))
            case ast.UnaryOp(ast.USub(), operand):
                value = self.value(operand)
                return self.builder.fneg(value) if value.type == DOUBLE else self.builder.neg(self.convert(value, WORD))
            case ast.UnaryOp(ast.Invert(), operand):
                return self.builder.not_(self.word(operand))
            case ast.BoolOp(operator, parts):
                return self._junction(parts, all_of=isinstance(operator, ast.And))
            case ast.Compare(left, operators, rights):
                return self._comparisons(left, operators, rights)
            case ast.IfExp(test, body, orelse):
                return self._choice(test, body, orelse)
            case ast.Call():
                (value,) = self.call(node)
                return value
            case _:
                raise NotImplementedError(ast.unparse(node))

    def binary(self, operator: ast.operator, left: Any, right: Any) -> Any:
        """``left operator right``, wrapping."""
        if DOUBLE in (left.type, right.type):
            return getattr(self.builder, _ON_DOUBLES[type(operator)])(left, right)
        a, b = self.convert(left, WORD), self.convert(right, WORD)
        if isinstance(operator, ast.FloorDiv):
            return floor_divide(self.builder, a, b)
        if isinstance(operator, ast.Mod):
            return floor_rest(self.builder, a, b)
        return getattr(self.builder, _ON_WORDS[type(operator)])(a, b)

    # ---------------------------------------------------------------- conditions

    def _junction(self, parts: list[ast.expr], *, all_of: bool) -> Any:
        after = self.new_block("decided")
        ways: list[tuple[Any, Any]] = []
        for part in parts[:-1]:
            known = self.condition(part)
            ways.append((BIT(int(not all_of)), self.builder.block))
            more = self.new_block("more")
            self.builder.cbranch(known, *((more, after) if all_of else (after, more)))
            self.builder.position_at_end(more)
        ways.append((self.condition(parts[-1]), self.builder.block))
        self.builder.branch(after)
        self.builder.position_at_end(after)
        return self._joined(BIT, ways)

    def _joined(self, kind: Any, ways: list[tuple[Any, Any]]) -> Any:
        phi = self.builder.phi(kind)
        for value, block in ways:
            phi.add_incoming(value, block)
        return phi

    def _choice(self, test: ast.expr, body: ast.expr, orelse: ast.expr) -> Any:
        then, other, after = (self.new_block(name) for name in ("then", "else", "chosen"))
        self.builder.cbranch(self.condition(test), then, other)
        ways: list[tuple[Any, Any]] = []
        for block, node in ((then, body), (other, orelse)):
            self.builder.position_at_end(block)
            value = self.value(node)
            ways.append((value if value.type == DOUBLE else self.convert(value, WORD), self.builder.block))
            self.builder.branch(after)
        self.builder.position_at_end(after)
        return self._joined(ways[0][0].type, ways)

    def _comparisons(self, left: ast.expr, operators: list[ast.cmpop], rights: list[ast.expr]) -> Any:
        """All in a row; operands have no effects, so none needs to be left out."""
        result: Any = None
        before = self.value(left)
        for operator, right in zip(operators, rights, strict=True):
            if isinstance(operator, ast.In | ast.NotIn):
                assert isinstance(right, ast.Tuple)
                known = self._among(before, right.elts)
                known = known if isinstance(operator, ast.In) else self.builder.not_(known)
            else:
                following = self.value(right)
                known = self._compare(_COMPARISONS[type(operator)], before, following)
                before = following
            result = known if result is None else self.builder.and_(result, known)
        return result

    def _among(self, value: Any, items: list[ast.expr]) -> Any:
        result: Any = BIT(0)
        for item in items:
            result = self.builder.or_(result, self._compare("==", value, self.value(item)))
        return result

    def _compare(self, sign: str, a: Any, b: Any) -> Any:
        if DOUBLE in (a.type, b.type):
            return (self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered)(sign, a, b)
        return self.builder.icmp_signed(sign, self.convert(a, WORD), self.convert(b, WORD))

    # ---------------------------------------------------------------- calls

    def call(self, node: ast.Call) -> list[Any]:
        """What the function returns: no value, one, or several."""
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        arguments = [self.value(argument) for argument in node.args]
        instruction = INSTRUCTIONS.get(name)
        if instruction is not None:
            operands = [value if value.type == DOUBLE else self.convert(value, WORD) for value in arguments]
            touched = (piece_of(node.args[0]),) if name in ACCESSES else ()
            made = instruction(self.builder, *operands, *touched)
            return [] if made is None else list(made) if isinstance(made, tuple) else [made]
        function, returned = self.module.function(name)
        kinds = function.function_type.args
        result = self.builder.call(function, [self.convert(v, k) for v, k in zip(arguments, kinds, strict=True)])
        if not self.module.library.may_fail(name):
            if len(returned) < 2:
                return [result] if returned else []
            return [self.builder.extract_value(result, place) for place in range(len(returned))]
        failed = self.builder.extract_value(result, 0) if returned else result
        onward = self.new_block("onward")
        self.builder.cbranch(failed, self.handler(), onward)
        self.builder.position_at_end(onward)
        return [self.builder.extract_value(result, 1 + place) for place in range(len(returned))]

    def handler(self) -> Any:
        """See ``FunctionCode``."""
        raise NotImplementedError


def _constant(number: int) -> Any:
    word = number & (2 * _SIGN - 1)
    return WORD(word - 2 * _SIGN if word >= _SIGN else word)
