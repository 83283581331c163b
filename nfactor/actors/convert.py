"""From the annotations of a message class to the two functions that encode and decode it.

For each class, Python source with one line of type check per field is generated and compiled once, as attrs does for
``__init__``; fields of scalar types cost a comparison, all others one call. Rejected: going through dictionaries
(``attrs.asdict`` costs ten times as much) and trusting what arrives (a wrong type would surface far from the wire).
"""

import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from nfactor.actors.ref import Ref
from nfactor.errors import CallerError

Binder = Callable[[str, str, bytes | None], Ref]
"""Makes a ref of (node name, actor name, key) when a message is decoded."""
Encode = Callable[[Any], Any]
Decode = Callable[[Any, Binder], Any]
Codecs = Mapping[type, tuple[Encode, Decode]]
"""The codecs of the message classes; filled while they are compiled, so that classes may name each other."""

_SCALARS: tuple[type, ...] = (int, str, bytes, bool, type(None))


class Mismatch(Exception):
    """A value is not of the type that the annotation says."""

    def __init__(self, value: object, expected: str) -> None:
        super().__init__(f"{type(value).__name__} instead of {expected}")


def _scalar(expected: type) -> tuple[Encode, Decode]:
    def encode(value: Any) -> Any:
        if type(value) is not expected:
            raise Mismatch(value, expected.__name__)
        return value

    def decode(value: Any, bind: Binder) -> Any:
        if type(value) is not expected:
            raise Mismatch(value, expected.__name__)
        return value

    return encode, decode


def _encode_float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    raise Mismatch(value, "float")


def _decode_float(value: Any, bind: Binder) -> float:
    if type(value) is not float:
        raise Mismatch(value, "float")
    return value


def _encode_ref(value: Any) -> list[Any]:
    if type(value) is not Ref:
        raise Mismatch(value, "Ref")
    return [value.node_name, value.actor_name, value.key]


def _decode_ref(value: Any, bind: Binder) -> Ref:
    if type(value) is not list or len(value) != 3:
        raise Mismatch(value, "Ref")
    node_name, actor_name, key = value
    if type(node_name) is not str or type(actor_name) is not str or type(key) not in (bytes, type(None)):
        raise Mismatch(value, "Ref")
    return bind(node_name, actor_name, key)


def _optional(inner: tuple[Encode, Decode]) -> tuple[Encode, Decode]:
    encode_inner, decode_inner = inner
    return (
        lambda value: None if value is None else encode_inner(value),
        lambda value, bind: None if value is None else decode_inner(value, bind),
    )


def _sequence(kind: type[list[Any]] | type[tuple[Any, ...]], inner: tuple[Encode, Decode]) -> tuple[Encode, Decode]:
    encode_inner, decode_inner = inner

    def encode(value: Any) -> list[Any]:
        if type(value) is not kind:
            raise Mismatch(value, kind.__name__)
        return [encode_inner(item) for item in value]

    def decode(value: Any, bind: Binder) -> Any:
        if type(value) is not list:
            raise Mismatch(value, kind.__name__)
        return kind([decode_inner(item, bind) for item in value])

    return encode, decode


def _fixed_tuple(inner: list[tuple[Encode, Decode]]) -> tuple[Encode, Decode]:
    encoders, decoders = [encode for encode, _ in inner], [decode for _, decode in inner]
    expected = f"tuple of {len(inner)}"

    def encode(value: Any) -> list[Any]:
        if type(value) is not tuple or len(value) != len(encoders):
            raise Mismatch(value, expected)
        return [encode_item(item) for encode_item, item in zip(encoders, value, strict=True)]

    def decode(value: Any, bind: Binder) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(decoders):
            raise Mismatch(value, expected)
        return tuple([decode_item(item, bind) for decode_item, item in zip(decoders, value, strict=True)])

    return encode, decode


def _dictionary(key: tuple[Encode, Decode], inner: tuple[Encode, Decode]) -> tuple[Encode, Decode]:
    encode_key, decode_key = key
    encode_inner, decode_inner = inner

    def encode(value: Any) -> dict[Any, Any]:
        if type(value) is not dict:
            raise Mismatch(value, "dict")
        return {encode_key(name): encode_inner(item) for name, item in value.items()}

    def decode(value: Any, bind: Binder) -> dict[Any, Any]:
        if type(value) is not dict:
            raise Mismatch(value, "dict")
        return {decode_key(name, bind): decode_inner(item, bind) for name, item in value.items()}

    return encode, decode


def _messages(classes: list[type], tags: dict[int, type], codecs: Codecs) -> tuple[Encode, Decode]:
    """A field that holds a message of one of ``classes``; the tag says which."""
    expected = " | ".join(cls.__name__ for cls in classes)

    def encode(value: Any) -> Any:
        if type(value) not in classes:
            raise Mismatch(value, expected)
        return codecs[type(value)][0](value)

    def decode(value: Any, bind: Binder) -> Any:
        if type(value) is not list or not value or type(value[0]) is not int or value[0] not in tags:
            raise Mismatch(value, expected)
        return codecs[tags[value[0]]][1](value, bind)

    return encode, decode


def converter(annotation: Any, tag_of: Callable[[type], int | None], codecs: Codecs) -> tuple[Encode, Decode]:
    """The two functions for an annotation; raises CallerError for one that cannot travel."""
    if annotation is None:
        annotation = type(None)
    if annotation is float:
        return _encode_float, _decode_float
    if annotation is Ref or typing.get_origin(annotation) is Ref:
        return _encode_ref, _decode_ref
    if annotation in _SCALARS:
        return _scalar(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        some = [argument for argument in arguments if argument is not type(None)]
        inner = _union(some, tag_of, codecs)
        return inner if len(some) == len(arguments) else _optional(inner)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _sequence(tuple, converter(arguments[0], tag_of, codecs))
    if origin is tuple:
        return _fixed_tuple([converter(argument, tag_of, codecs) for argument in arguments])
    if origin is list:
        return _sequence(list, converter(arguments[0], tag_of, codecs))
    if origin is dict and arguments[0] in (str, int, bytes):
        return _dictionary(_scalar(arguments[0]), converter(arguments[1], tag_of, codecs))
    if isinstance(annotation, type) and tag_of(annotation) is not None:
        return _union([annotation], tag_of, codecs)
    raise CallerError(
        f"{annotation!r} cannot travel in a message: use int, float, bool, str, bytes, None, Ref, a message class, "
        "or tuple, list, dict (keys: str, int, bytes) and X | None of those"
    )


def _union(some: list[Any], tag_of: Callable[[type], int | None], codecs: Codecs) -> tuple[Encode, Decode]:
    tags = {tag_of(cls): cls for cls in some if isinstance(cls, type)}
    if len(tags) == len(some) and None not in tags:
        return _messages(some, typing.cast("dict[int, type]", tags), codecs)
    if len(some) == 1:
        return converter(some[0], tag_of, codecs)
    raise CallerError(f"{some} in one field: a union may only be of message classes, or of one type and None")


def is_plain(cls: type) -> bool:
    """Whether ``__init__`` is attrs' own and does nothing but fill slots: then filling them does the same in half the
    time (in a frozen class each costs it a call)."""
    return (
        cls.__init__.__code__.co_filename.startswith("<attrs generated")  # type: ignore[misc]
        and cls.__new__ is object.__new__  # type: ignore[comparison-overlap]
        and not (hasattr(cls, "__attrs_post_init__") or hasattr(cls, "__attrs_pre_init__"))
        and all(
            field.validator is None
            and field.converter is None
            and type(getattr(cls, field.name)) is types.MemberDescriptorType
            for field in attrs.fields(cls)
        )
    )


def compile_message(cls: type, tag: int, tag_of: Callable[[type], int | None], codecs: Codecs) -> tuple[Encode, Decode]:
    """The codec of one message class: between an instance and the list ``[tag, field, field…]``."""
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise CallerError(f"message {cls.__name__}: an annotation names something unknown: {error}") from error
    names: dict[str, Any] = {"cls": cls, "Mismatch": Mismatch}
    encode_lines, decode_lines, encoded, decoded, filled = [], [], [], [], []
    fills = is_plain(cls)
    if fills:
        names["new"] = object.__new__
    for number, field in enumerate(attrs.fields(cls)):
        annotation, value = hints[field.name], f"v{number}"
        if not field.init:
            raise CallerError(f"message {cls.__name__}: field {field.name} has init=False and could not be decoded")
        try:
            names[f"e{number}"], names[f"d{number}"] = converter(annotation, tag_of, codecs)
        except CallerError as error:
            raise CallerError(f"message {cls.__name__}, field {field.name}: {error}") from error
        if annotation in _SCALARS:
            names[f"t{number}"] = annotation
            expected = f"{field.name}: {annotation.__name__}"
            check = f" if type({value}) is not t{number}: raise Mismatch({value}, {expected!r})"
            encode_lines += [f" {value} = m.{field.name}", check]
            decode_lines.append(check)
            encoded.append(value)
            arguments = value
        else:
            encoded.append(f"e{number}(m.{field.name})")
            arguments = f"d{number}({value}, bind)"
        decoded.append(f"{field.alias}={arguments}" if field.kw_only else arguments)
        if fills:
            names[f"s{number}"] = getattr(cls, field.name).__set__
            filled.append(f" s{number}(m, {arguments})")
    values = "".join(f", v{number}" for number in range(len(decoded)))
    source = "\n".join(
        [
            "def encode(m):",
            *encode_lines,
            f" return [{', '.join([str(tag), *encoded])}]",
            "def decode(values, bind):",
            f" if len(values) != {len(decoded) + 1}: raise Mismatch(values, '{len(decoded)} fields')",
            f" _{values} = values" if values else "",
            *decode_lines,
            *([" m = new(cls)", *filled, " return m"] if fills else [f" return cls({', '.join(decoded)})"]),
        ]
    )
    exec(compile(source, f"<codec of {cls.__qualname__}>", "exec"), names)
    return names["encode"], names["decode"]
