"""Statements: assignments, branches, loops and returns, as the same in the dialect."""

import ast
from typing import Any

from nfactor.compiled.calls import Calls
from nfactor.compiled.scope import described, word
from nfactor.compiled.values import SIGNED_MAX, Const, Group, Int, Real, Record, Rows, Value, View, of_scalar


class Statements(Calls):
    """See the module."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.returned: list[Value] = []
        self.breaks: list[set[str] | None] = []
        """Names that have a value wherever the innermost loop was left."""
        self.unrolled = 0

    def block(self, statements: list[ast.stmt]) -> None:
        """One statement after the other, up to one behind which nothing comes."""
        before = len(self.lines)
        for statement in statements:
            if self.assigned is None:
                break
            self.statement(statement)
        if len(self.lines) == before:
            self.emit("pass")

    def statement(self, node: ast.stmt) -> None:
        """One statement."""
        match node:
            case ast.Expr(ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(ast.Call() as call):
                value = self.exact(call)
                if not isinstance(value, Const):
                    self.emit(word(self.number(call, value)))
            case ast.Assign(targets, value):
                self._assign(node, targets, value)
            case ast.AnnAssign(target, _, ast.expr() as value):
                self._assign(node, [target], value)
            case ast.AnnAssign():
                pass
            case ast.AugAssign(target, operator, value):
                self._augment(node, target, operator, value)
            case ast.If(test, body, orelse):
                self._if(test, body, orelse)
            case ast.While(test, body, []):
                self._while(test, body)
            case ast.For(target, iterated, body, []):
                self._for(node, target, iterated, body)
            case ast.Return(value):
                self._return(node, value)
            case ast.Break() | ast.Continue():
                self._leave_turn(node)
            case ast.Assert(test, message):
                self._assert(node, test, message)
            case ast.Raise():
                self.emit(f"fail(cx, {self.site(node, self.source.text(node))})")
                self.assigned = None
            case _:
                self.refuse(node, f"{_kind(node)} cannot be compiled; {_instead(node)}")

    # ---------------------------------------------------------------- assignments

    def _assign(self, node: ast.AST, targets: list[ast.expr], value: ast.expr) -> None:
        if len(targets) == 1:
            self._assign_to(targets[0], value)
            return
        computed = self.exact(value)
        if isinstance(computed, Int | Real) and not (isinstance(computed, Int) and computed.simple):
            computed = self._held(computed)
        for target in targets:
            self._give(target, computed)

    def _assign_to(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Attribute | ast.Subscript):
            self.store(target, lambda: self.loose(value))
            return
        computed = self.exact(value)
        if isinstance(target, ast.Tuple) and isinstance(computed, Group):
            computed = Group(tuple(self._held(v) if isinstance(v, Int | Real) else v for v in computed.items))
        self._give(target, computed)

    def _held(self, value: Int | Real) -> Int | Real:
        """The value as it is now, whatever is assigned next."""
        name = self.temporary()
        self.emit(f"{name} = {word(value)}")
        return Real(name) if isinstance(value, Real) else Int(name, value.low, value.high, value.cut, simple=True)

    def _give(self, target: ast.expr, value: Value) -> None:
        """Assign what is computed."""
        if isinstance(target, ast.Attribute | ast.Subscript):
            self.store(target, lambda: value)
        elif isinstance(target, ast.Tuple):
            items = self._items(target, value)
            for part, item in zip(target.elts, items, strict=True):
                self._give(part, item)
        elif isinstance(target, ast.Name):
            if isinstance(value, Const) and isinstance(value.value, bool | int | float):
                value = self.number(target, value)
            if isinstance(value, Int) and value.cut:
                self.refuse(target, f"what {target.id} is given does not fit in 64 bits; mask it")
            self.assign(target, target.id, value)
        else:
            self.refuse(target, f"{self.source.text(target)} cannot be assigned to")

    def _items(self, target: ast.Tuple, value: Value) -> list[Value]:
        if isinstance(value, Const) and isinstance(value.value, tuple):
            items: list[Value] = [Const(item) for item in value.value]
        elif isinstance(value, Group):
            items = list(value.items)
        else:
            self.refuse(target, f"{self.source.text(target)}: {described(value)} has no parts")
        if len(items) != len(target.elts):
            self.refuse(target, f"{self.source.text(target)}: {len(items)} values for {len(target.elts)} names")
        return items

    def _augment(self, node: ast.AST, target: ast.expr, operator: ast.operator, value: ast.expr) -> None:
        if isinstance(target, ast.Attribute | ast.Subscript):
            self.store(target, lambda: self.binary(node, target, operator, value, True))
        elif isinstance(target, ast.Name):
            computed = self.binary(
                node, ast.copy_location(ast.Name(target.id, ast.Load()), target), operator, value, False
            )
            self._give(target, computed)

    # ---------------------------------------------------------------- branches

    def _if(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        known = self.condition(test)
        if isinstance(known, bool):
            self.block_in_place(body if known else orelse)
            return
        before, marked = self.assigned, self.marked
        self.emit(f"if {known}:")
        self._indented(body)
        after_body, marked_body = self.assigned, self.marked
        self.assigned, self.marked = None if before is None else set(before), marked
        if orelse:
            self.emit("else:")
            self._indented(orelse)
        if after_body is None:
            return
        if self.assigned is None:
            self.assigned, self.marked = after_body, marked_body
        else:
            self.assigned, self.marked = self.assigned & after_body, self.marked and marked_body

    def block_in_place(self, statements: list[ast.stmt]) -> None:
        """The statements of a branch that is known to be taken."""
        for statement in statements:
            if self.assigned is None:
                break
            self.statement(statement)

    def _indented(self, body: list[ast.stmt]) -> None:
        self.assigned = None if self.assigned is None else set(self.assigned)
        self.depth += 1
        self.block(body)
        self.depth -= 1

    def _assert(self, node: ast.Assert, test: ast.expr, message: ast.expr | None) -> None:
        known = self.condition(test)
        what = self.source.text(message) if message else self.source.text(test)
        if known is False:
            self.emit(f"fail(cx, {self.site(node, what)})")
            self.assigned = None
        elif known is not True:
            self.emit(f"if not {known}:")
            self.emit(f"    fail(cx, {self.site(node, what)})")

    # ---------------------------------------------------------------- loops

    def _while(self, test: ast.expr, body: list[ast.stmt]) -> None:
        self.conditional = True
        known = self.condition(test)
        self.conditional = False
        if known is False:
            return
        self.emit(f"while {known}:")
        self._turns(body, endless=known is True)

    def _turns(self, body: list[ast.stmt], *, endless: bool = False) -> None:
        before, marked = self.assigned, self.marked
        unrolled, self.unrolled = self.unrolled, 0
        outer, self.breaks = self.breaks, []
        self._indented(body)
        after: set[str] | None = None if endless else before
        for names in self.breaks:
            after = names if after is None else after if names is None else after & names
        self.assigned, self.marked, self.breaks, self.unrolled = after, marked, outer, unrolled

    def _leave_turn(self, node: ast.Break | ast.Continue) -> None:
        if self.unrolled:
            self.refuse(node, "break and continue in a loop over a tuple of arrays cannot be compiled; use if")
        if isinstance(node, ast.Break):
            self.breaks.append(self.assigned)
        self.emit("break" if isinstance(node, ast.Break) else "continue")
        self.assigned = None

    def _for(self, node: ast.AST, target: ast.expr, iterated: ast.expr, body: list[ast.stmt]) -> None:
        if isinstance(iterated, ast.Call) and isinstance(iterated.func, ast.Name) and not iterated.keywords:
            if iterated.func.id == "range":
                self._for_range(node, target, iterated, body)
                return
            if iterated.func.id == "enumerate" and isinstance(target, ast.Tuple) and len(target.elts) == 2:
                self._over(node, target.elts[1], self.exact(iterated.args[0]), body, target.elts[0])
                return
        self._over(node, target, self.exact(iterated), body, None)

    def _for_range(self, node: ast.AST, target: ast.expr, iterated: ast.Call, body: list[ast.stmt]) -> None:
        if not isinstance(target, ast.Name) or not 1 <= len(iterated.args) <= 3:
            self.refuse(node, "write `for name in range(…)`")
        bounds = [self.integer(argument) for argument in iterated.args]
        start, stop = (Int("0", 0, 0, simple=True), bounds[0]) if len(bounds) == 1 else bounds[:2]
        step = bounds[2] if len(bounds) == 3 else Int("1", 1, 1, simple=True)
        if step.low != step.high or step.low == 0 or start.unsigned or stop.unsigned:
            self.refuse(node, f"{self.source.text(iterated)}: bounds of up to 63 bits and a step that is known, not 0")
        low, high = (start.low, stop.high - 1) if step.low > 0 else (stop.low + 1, start.high)
        counter = self.temporary()
        self.emit(f"for {counter} in range({word(start)}, {word(stop)}, {step.text}):")
        self._turn(target, Int(counter, min(low, high, SIGNED_MAX), max(low, high), simple=True), body)

    def _turn(self, target: ast.expr, value: Value, body: list[ast.stmt]) -> None:
        """A loop's body, which begins with an assignment."""
        before = None if self.assigned is None else set(self.assigned)
        self.depth += 1
        self._give(target, value)
        self.depth -= 1
        self._turns(body)
        if self.assigned is not None and before is not None:
            self.assigned &= before

    def _over(
        self, node: ast.AST, target: ast.expr, group: Value, body: list[ast.stmt], index: ast.expr | None
    ) -> None:
        """``for target in group``, with or without the index."""
        if isinstance(group, Const):
            group = self.memory(node, group.value)
        if isinstance(group, View | Rows):
            counter = self.temporary()
            self.emit(f"for {counter} in range({group.count}):")
            item: Value
            if isinstance(group, Rows):
                item = Record(group.schema, f"({group.base} + {counter} * {group.schema.size})", constant=True)
            else:
                item = of_scalar(group.element, f"{_loaded(group)}({group.base} + {counter} * {group.element.octets})")
            at = Int(counter, 0, (1 << 31) - 1, simple=True)
            both = target if index is None else ast.copy_location(ast.Tuple([index, target], ast.Store()), target)
            self._turn(both, item if index is None else Group((at, item)), body)
            return
        items = group.items if isinstance(group, Group) else getattr(group, "value", None)
        if not isinstance(items, tuple | bytes):
            self.refuse(node, f"a loop over {described(group)}; loop over range(…), an array, a table or a tuple")
        self._unroll(target, items if isinstance(group, Group) else [Const(item) for item in items], body, index)

    def _unroll(self, target: ast.expr, items: Any, body: list[ast.stmt], index: ast.expr | None) -> None:
        """The body once for each item."""
        self.unrolled += 1
        for at, item in enumerate(items):
            for name in ast.walk(target):
                if isinstance(name, ast.Name):
                    self.aliases.pop(name.id, None)
            if index is not None:
                self._give(index, Const(at))
            self._give(target, item)
            self.block_in_place(body)
        self.unrolled -= 1

    # ---------------------------------------------------------------- the end

    def _return(self, node: ast.AST, value: ast.expr | None) -> None:
        returned = Const(None) if value is None else self.exact(value)
        if isinstance(returned, Const) and isinstance(returned.value, tuple):
            returned = Group(tuple(Const(item) for item in returned.value))
        if isinstance(returned, Const) and returned.value is None:
            self.emit("return")
        elif isinstance(returned, Group):
            items = [self.number(node, item) for item in returned.items]
            returned = Group(tuple(items))
            self.emit(f"return ({', '.join(map(word, items))},)")
        else:
            returned = self.number(node, returned)
            self.emit(f"return {word(returned)}")
        self.returned.append(returned)
        self.assigned = None


def _loaded(view: View) -> str:
    if view.element.real:
        return "ld_f64"
    return f"ld_{'i' if view.element.signed else 'u'}{8 * view.element.octets}"


def _kind(node: ast.stmt) -> str:
    kinds: dict[type[ast.stmt], str] = {
        ast.Try: "try",
        ast.With: "with",
        ast.Import: "import",
        ast.ImportFrom: "import",
        ast.FunctionDef: "a function inside a function",
        ast.ClassDef: "a class inside a function",
        ast.Delete: "del",
        ast.Global: "global",
        ast.Nonlocal: "nonlocal",
        ast.Match: "match",
        ast.For: "for … else",
        ast.While: "while … else",
    }
    return kinds.get(type(node), type(node).__name__)


def _instead(node: ast.stmt) -> str:
    match node:
        case ast.Try():
            return "an exception always costs the packet; test before you do what may fail"
        case ast.FunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
            return "move it to the module"
        case ast.Match():
            return "write if and elif"
        case ast.Global() | ast.Nonlocal():
            return "keep it in the flow's state, or in a state object of the NF"
    return "write it with assignments, if, while, for and return"
