"""Messages: frozen attrs classes with a stable number, and the codec of a chosen set of them.

::

    @message(tag=17)
    class Join:
        name: str
        loads: tuple[float, ...] = ()

    codec = Messages(Join, Leave)
    codec.decode(codec.encode(Join("a"))) == Join("a")

On the wire a message is the msgpack array ``[tag, field, field…]``. There is no global registry: a ``Messages`` is a
value that the caller hands to a node, and several may be put together (``Messages(*A.classes, *B.classes)``). Both ends
need the same classes; whatever else arrives raises ProtocolError, and nothing else.
"""

from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import attrs
import msgpack  # type: ignore[import-untyped]

from nfactor.actors import envelope
from nfactor.actors.bulk import is_bulky, packed
from nfactor.actors.convert import Binder, Decode, Encode, Mismatch, compile_message
from nfactor.actors.flat import Flat, compile_flat
from nfactor.actors.ref import Ref
from nfactor.errors import CallerError, CodecError, ProtocolError

T = TypeVar("T")

TAG_MAX = 0xFFFF
"""The greatest tag; those up to 127 take one octet."""


@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field,))
def message(*, tag: int, system: bool = False) -> Callable[[type[T]], type[T]]:
    """Make a class a message: frozen, with slots, and a number that says on the wire which class it is.

    Messages of the ``system`` lane are handled before all others that wait, and on the network they do not queue behind
    them: made for heartbeats and control calls, not for bulk.
    """
    if not 0 <= tag <= TAG_MAX:
        raise CallerError(f"tag {tag} of a message: use 0 to {TAG_MAX}")

    def make(cls: type[T]) -> type[T]:
        made = attrs.frozen(cls)
        made.__message_tag__ = tag  # type: ignore[attr-defined]
        made.__message_system__ = system  # type: ignore[attr-defined]
        return made

    return make


def tag_of(cls: type) -> int | None:
    """The tag of a message class; None for any other class, a mere subclass of a message included."""
    tag = cls.__dict__.get("__message_tag__")
    return tag if isinstance(tag, int) else None


def is_system(message: object) -> bool:
    """Whether a message belongs to the system lane."""
    return getattr(message, "__message_system__", False) is True


def _unbound(node_name: str, actor_name: str, key: bytes | None) -> Ref:
    return Ref(node_name, actor_name, key)


class Messages:
    """The codec of some message classes."""

    def __init__(self, *classes: type) -> None:
        self.classes: tuple[type, ...] = tuple(dict.fromkeys(classes))
        """The classes, each once, in the order given."""
        self._by_tag: dict[int, type] = {}
        self._codecs: dict[type, tuple[Encode, Decode]] = {}
        for cls in self.classes:
            tag = tag_of(cls)
            if tag is None:
                raise CallerError(f"{cls.__name__} is not a message class: decorate it with @message(tag=…)")
            if tag in self._by_tag:
                raise CallerError(f"messages {self._by_tag[tag].__name__} and {cls.__name__} have the same tag {tag}")
            self._by_tag[tag] = cls
        for tag, cls in self._by_tag.items():
            self._codecs[cls] = compile_message(cls, tag, self._registered_tag, self._codecs)
        self.encoders: dict[type, Encode] = {cls: encode for cls, (encode, _) in self._codecs.items()}
        """By class: what makes an array of a message, or raises Mismatch."""
        self.decoders: dict[int, Decode] = {tag: self._codecs[cls][1] for tag, cls in self._by_tag.items()}
        """By tag: what makes a message of an array, or raises whatever."""
        flats = {cls: compile_flat(cls, tag) for tag, cls in self._by_tag.items()}
        # How the messages that can travel in runs do, by class and by tag.
        self.flats: dict[type, Flat] = {cls: flat for cls, flat in flats.items() if flat is not None}
        self.flats_by_tag: dict[int, Flat] = {flat.tag: flat for flat in self.flats.values()}
        self._with_octets = {cls for cls in self.classes if any(field.type is bytes for field in attrs.fields(cls))}
        self.pack_quickly = msgpack.Packer(use_bin_type=True).pack
        """``pack``, with whatever msgpack raises."""

    def pack_behind(self, prefix: bytes, cls: type, array: list[Any]) -> bytes:
        """The array of a message of that class behind a prefix, with whatever msgpack raises."""
        if cls in self._with_octets and is_bulky(array):
            return packed(array, self.pack_quickly, prefix)
        data: bytes = prefix + self.pack_quickly(array)
        return data

    def _registered_tag(self, cls: type) -> int | None:
        tag = tag_of(cls)
        if tag is not None and self._by_tag.get(tag) is not cls:
            raise CallerError(f"message class {cls.__name__} is not among these Messages: add it")
        return tag

    def encode(self, value: object) -> bytes:
        """A message as octets; raises CodecError if its class is not registered or a field is of a wrong type."""
        codec = self._codecs.get(type(value))
        try:
            data = self.pack_behind(b"", type(value), codec[0](value))  # type: ignore[index]
        except Exception:  # the longer way says what is wrong
            return self.pack(self.to_array(value))
        return data

    def decode(self, data: bytes, bind: Binder | None = None) -> object:
        """The message of some octets; raises ProtocolError if they are none. ``bind`` makes its refs."""
        return self.from_array(self.unpack(data), bind)

    def to_array(self, value: object) -> list[Any]:
        """A message as ``[tag, field, field…]``, ready for msgpack; raises CodecError."""
        codec = self._codecs.get(type(value))
        if codec is None:
            raise CodecError(f"{type(value).__name__} is not among this node's messages: add it to its Messages(…)")
        try:
            array: list[Any] = codec[0](value)
        except Mismatch as error:
            raise CodecError(f"message {type(value).__name__} cannot be encoded: {error}") from error
        return array

    def from_array(self, array: object, bind: Binder | None = None) -> object:
        """The message of ``[tag, field, field…]``; raises ProtocolError."""
        if type(array) is not list or not array or type(array[0]) is not int:
            raise ProtocolError("a message that does not begin with its tag")
        cls = self._by_tag.get(array[0])
        if cls is None:
            raise ProtocolError(f"a message with the unknown tag {array[0]}: do both nodes have the same messages?")
        try:
            return self._codecs[cls][1](array, bind or _unbound)
        except Exception as error:  # an author's own validators may raise anything
            raise ProtocolError(f"message {cls.__name__} cannot be decoded: {error}") from error

    def singly(self, array: list[Any]) -> list[list[Any]]:
        """A checked envelope, or those that a run stands for; raises ProtocolError."""
        match array:
            case [envelope.RUN, name, tag, values]:
                return [[envelope.TELL, name, None, body] for body in self._bodies(tag, values)]
            case [envelope.ASK_RUN, name, tag, numbers, values]:
                bodies = self._bodies(tag, values, len(numbers))
                return [[envelope.ASK, name, None, *each] for each in zip(numbers, bodies, strict=True)]
            case [envelope.REPLY_RUN, tag, numbers, values]:
                bodies = self._bodies(tag, values, len(numbers))
                return [[envelope.REPLY, *each] for each in zip(numbers, bodies, strict=True)]
        return [array]

    def _bodies(self, tag: int, values: list[Any], count: int | None = None) -> list[list[Any]]:
        """The messages of a run, as arrays; ``count``: so many they have to be."""
        flat = self.flats_by_tag.get(tag)
        if flat is None or (len(values) % flat.width if count is None else len(values) != count * flat.width):
            raise ProtocolError(f"a run of messages with the tag {tag}: do both nodes have the same messages?")
        return [[tag, *values[start : start + flat.width]] for start in range(0, len(values), flat.width)]

    def pack(self, array: list[Any]) -> bytes:
        """msgpack, with what it cannot hold (an int over 64 bits, a lone surrogate) as CodecError."""
        try:
            data: bytes = self.pack_quickly(array)
        except (OverflowError, TypeError, ValueError, RecursionError) as error:
            raise CodecError(f"a value in a message cannot be encoded: {error}") from error
        return data

    def unpack(self, data: bytes) -> object:
        """msgpack, with whatever is wrong as ProtocolError."""
        try:
            value: object = msgpack.unpackb(data, raw=False, strict_map_key=False)
        except Exception as error:  # FormatError, StackError, ExtraData, UnicodeDecodeError, TypeError, …
            raise ProtocolError(f"octets that are no msgpack: {type(error).__name__}") from error
        return value
