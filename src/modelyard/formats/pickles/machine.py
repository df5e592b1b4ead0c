"""A pickle machine that follows every instruction and imports, calls and changes nothing.

It keeps the same stack and memory as Python's own machine, so every name that a real load would import
is seen, however it is put together. What is not followed exactly is refused, never guessed:
frames must nest as Python writes them, memory indices must be plain, a call must call a name.
"""

from __future__ import annotations

import _compat_pickle
import pickle
from collections.abc import Callable

from modelyard.formats import limits
from modelyard.formats.pickles import scalars
from modelyard.formats.pickles.source import Source
from modelyard.formats.pickles.values import Blob, Global, Instance, Malformed, Opaque

APPENDABLE = frozenset({"collections.deque", "builtins.list", "builtins.bytearray"})
ASSIGNABLE = frozenset({
    "collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict",
    "sklearn.utils.Bunch", "sklearn.utils._bunch.Bunch",
    "sklearn.covariance._graph_lasso._DictWithDeprecatedKeys",
})  # fmt: skip
ADDABLE = frozenset({"builtins.set"})
UNKNOWN = Global("", "")
STORAGE = Global("torch", "UntypedStorage")
RECONSTRUCTOR = "copyreg._reconstructor"
ENCODE = "_codecs.encode"
COMPUTED_KEY = "__computed__"
"""Stands for every key whose text is only known while loading."""
PLAIN_KEYS = (int, float, bytes, tuple, type(None), Blob)
MAX_FINDINGS = 100


class Record:
    """What was seen in one file, nested pickles included."""

    def __init__(self) -> None:
        self.imports: dict[Global, None] = {}
        """Every name that would be imported, in order."""
        self.findings: dict[str, None] = {}
        """What is unsafe whatever the names are, in words."""
        self.operations = 0
        self.retained = 0
        self.arrays = 0
        """Arrays in joblib's own layout."""

    def keep(self, size: int) -> None:
        """Account for `size` bytes kept. Raises Malformed above the bound."""
        self.retained += size
        if self.retained > limits.MAX_RETAINED:
            raise Malformed(f"it holds more objects than can be checked in {limits.MAX_RETAINED} bytes")


class Machine:
    """Runs one pickle, inertly, up to its STOP."""

    def __init__(
        self,
        source: Source,
        record: Record,
        *,
        after_build: Callable[[Machine, Instance], None] | None = None,
        storages: bool = False,
    ) -> None:
        self.source = source
        self.record = record
        self.stack: list[object] = []
        self._below: list[list[object]] = []
        self._memory: dict[int, object] = {}
        self._protocol = 0
        self._after_build = after_build
        """Called when an object got its state: joblib reads raw arrays at that moment."""
        self._storages = storages
        """Whether persistent ids may name the storages of tensors, as in PyTorch's archives."""

    def run(self) -> object:
        """Follow the pickle and return its root. Raises Malformed."""
        read, stop = self.source.byte, pickle.STOP[0]
        while (code := read()) != stop:
            self.record.operations += 1
            if self.record.operations > limits.MAX_OPERATIONS:
                raise Malformed(f"it has more than {limits.MAX_OPERATIONS} instructions")
            reader = scalars.READERS.get(code)
            if reader is not None:
                self._push_value(reader(self.source))
                continue
            action = ACTIONS.get(code)
            if action is None:
                raise Malformed(
                    f"byte {code} at {self.source.position - 1} is not an instruction of a pickle"
                )
            action(self)
        if self.source.framed:
            raise Malformed("data follows the end of the pickle")
        return self.pop()

    def pop(self) -> object:
        """Take the top of the stack. Raises Malformed when there is none."""
        if not self.stack:
            raise Malformed("an instruction finds nothing to work on")
        return self.stack.pop()

    def find(self, text: str) -> None:
        """Note something that makes the file unsafe."""
        if len(self.record.findings) < MAX_FINDINGS:
            self.record.findings[text[:300]] = None

    def _push_value(self, value: object) -> None:
        if isinstance(value, str):
            self.record.keep(len(value) + 64)
        elif isinstance(value, Blob):
            self.record.keep(len(value.head) + 64)
        else:
            self.record.keep(16)
        self.stack.append(value)

    def _top(self) -> object:
        if not self.stack:
            raise Malformed("an instruction finds nothing to work on")
        return self.stack[-1]

    def _mark(self) -> None:
        self.record.keep(256)
        self._below.append(self.stack)
        self.stack = []

    def _since_mark(self) -> list[object]:
        if not self._below:
            raise Malformed("an instruction finds no mark")
        items = self.stack
        self.stack = self._below.pop()
        return items

    # Memory and flow

    def _proto(self) -> None:
        self._protocol = self.source.byte()
        if self._protocol > pickle.HIGHEST_PROTOCOL:
            raise Malformed(f"pickle protocol {self._protocol} is not known")

    def _frame(self) -> None:
        self.source.begin_frame(self.source.number(8))

    def _pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._since_mark()

    def _pop_mark(self) -> None:
        self._since_mark()

    def _dup(self) -> None:
        self.stack.append(self._top())

    def _put(self, index: int) -> None:
        if index not in self._memory:
            self.record.keep(100)
        self._memory[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self._memory:
            raise Malformed(f"memory slot {index} was never filled")
        self.stack.append(self._memory[index])

    # Containers

    def _new_list(self) -> None:
        self._grown([])

    def _new_dict(self) -> None:
        self._grown({})

    def _new_set(self) -> None:
        self._grown(Opaque("set"))

    def _grown(self, value: object) -> None:
        self.record.keep(80)
        self.stack.append(value)

    def _tuple(self, count: int) -> None:
        if len(self.stack) < count:
            raise Malformed("an instruction finds nothing to work on")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self._grown(items)

    def _marked_tuple(self) -> None:
        self._grown(tuple(self._since_mark()))

    def _marked_list(self) -> None:
        self._grown(self._since_mark())

    def _marked_dict(self) -> None:
        items = self._since_mark()
        made: dict[str, object] = {}
        self._assign_all(made, items)
        self._grown(made)

    def _frozenset(self) -> None:
        self._since_mark()
        self._grown(Opaque("frozenset"))

    def _append(self) -> None:
        item = self.pop()
        self._extend([item])

    def _appends(self) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items[: max(0, limits.KEPT_ITEMS - len(target))])
        else:
            self._require(target, APPENDABLE, "append")

    def _set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self._assign_all(self._top(), [key, value])

    def _set_items(self) -> None:
        items = self._since_mark()
        self._assign_all(self._top(), items)

    def _assign_all(self, target: object, items: list[object]) -> None:
        if len(items) % 2:
            raise Malformed("a key has no value")
        if isinstance(target, Instance):
            self._require(target, ASSIGNABLE, "set items")
            target = target.items
        if not isinstance(target, dict):
            raise Malformed("items are set on something that has none")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str):
                self.record.keep(80)
                target[key] = value
            elif not isinstance(key, PLAIN_KEYS):
                target[COMPUTED_KEY] = None

    def _add_items(self) -> None:
        self._since_mark()
        target = self._top()
        if not (isinstance(target, Opaque) and target.kind == "set"):
            self._require(target, ADDABLE, "add")

    def _require(self, target: object, names: frozenset[str], verb: str) -> None:
        if isinstance(target, Instance) and str(target.made_by) in names:
            return
        name = str(target.made_by) if isinstance(target, Instance) else type(target).__name__
        self.find(f"it calls `{verb}` of {name or 'an unknown object'}")

    # Names and calls

    def _global(self) -> None:
        module, name = self.source.line(), self.source.line()
        try:
            self.stack.append(self._named(module.decode(), name.decode()))
        except UnicodeDecodeError:
            raise Malformed("the name of an import is not valid UTF-8") from None

    def _stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if isinstance(name, str) and isinstance(module, str):
            self.stack.append(self._named(module, name))
            return
        self.find("it computes the name of something to import")
        self.stack.append(UNKNOWN)

    def _named(self, module: str, name: str) -> Global:
        if self._protocol < 3:
            if (module, name) in _compat_pickle.NAME_MAPPING:
                module, name = _compat_pickle.NAME_MAPPING[(module, name)]
            else:
                module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        found = Global(module, name)
        if found not in self.record.imports:
            self.record.keep(len(module) + len(name) + 200)
            self.record.imports[found] = None
        return found

    def _extension(self, _: int) -> None:
        self.find("it imports through the extension registry")
        self.stack.append(UNKNOWN)

    def _persistent_line(self) -> None:
        self.source.line()
        self._persistent()

    def _persistent_object(self) -> None:
        named = self.pop()
        if self._storages and _is_storage(named):
            self.stack.append(Instance(STORAGE))
        else:
            self._persistent()

    def _persistent(self) -> None:
        self.find("it refers to objects outside the file (persistent id)")
        self.stack.append(Instance(UNKNOWN))

    def _call(self, callee: object, args: object) -> None:
        if not isinstance(callee, Global):
            self.find("it calls something that is not a plain name")
            callee = UNKNOWN
        if not isinstance(args, tuple):
            self.find(f"it calls {callee} with arguments that are computed while loading")
            args = ()
        if str(callee) == RECONSTRUCTOR and args and isinstance(args[0], Global):
            callee = args[0]
        if str(callee) == ENCODE and args[1:] != ("latin1",):
            self.find("it encodes a text with something other than latin1")
        self._grown(Instance(callee, args))

    def _reduce(self) -> None:
        args, callee = self.pop(), self.pop()
        self._call(callee, args)

    def _new_object(self) -> None:
        args, kind = self.pop(), self.pop()
        self._call(kind, args)

    def _new_object_ex(self) -> None:
        self.pop()  # keyword arguments
        self._new_object()

    def _inst(self) -> None:
        self._global()
        callee = self.pop()
        self._call(callee, tuple(self._since_mark()))

    def _obj(self) -> None:
        items = self._since_mark()
        if not items:
            raise Malformed("an instruction finds nothing to work on")
        self._call(items[0], tuple(items[1:]))

    def _build(self) -> None:
        state, target = self.pop(), self._top()
        if not isinstance(target, Instance):
            name = str(target) if isinstance(target, Global) else type(target).__name__
            self.find(f"it changes {name}, which is not an object that it made")
            return
        if target.built:
            self.find(f"it sets the state of one {target.made_by} twice")
            return
        self._check_state(state, target)
        target.state, target.built = state, True
        if self._after_build is not None:
            self._after_build(self, target)

    def _check_state(self, state: object, target: Instance) -> None:
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in parts:
            for key in part if isinstance(part, dict) else ():
                if key.startswith("__") and key.endswith("__"):
                    self.find(f"it sets {key} of a {target.made_by}")

    def _out_of_band(self) -> None:
        raise Malformed("parts of it are in another place (out-of-band buffers)")


def _is_storage(named: object) -> bool:
    """Whether a persistent id is PyTorch's `("storage", type, key, location, length)`."""
    match named:
        case ("storage", Global(), str(), str(), int(), *more):
            return len(more) <= 1
        case _:
            return False


def _operand(size: int, what: Callable[[Machine, int], None]) -> Callable[[Machine], None]:
    """An instruction with one unsigned operand of `size` bytes."""
    return lambda machine: what(machine, machine.source.number(size))


ACTIONS: dict[int, Callable[[Machine], None]] = {
    pickle.PROTO[0]: Machine._proto,
    pickle.FRAME[0]: Machine._frame,
    pickle.MARK[0]: Machine._mark,
    pickle.POP[0]: Machine._pop,
    pickle.POP_MARK[0]: Machine._pop_mark,
    pickle.DUP[0]: Machine._dup,
    pickle.PUT[0]: lambda machine: machine._put(scalars.decimal(machine.source.line())),
    pickle.BINPUT[0]: _operand(1, Machine._put),
    pickle.LONG_BINPUT[0]: _operand(4, Machine._put),
    pickle.MEMOIZE[0]: lambda machine: machine._put(len(machine._memory)),
    pickle.GET[0]: lambda machine: machine._get(scalars.decimal(machine.source.line())),
    pickle.BINGET[0]: _operand(1, Machine._get),
    pickle.LONG_BINGET[0]: _operand(4, Machine._get),
    pickle.EMPTY_LIST[0]: Machine._new_list,
    pickle.EMPTY_DICT[0]: Machine._new_dict,
    pickle.EMPTY_SET[0]: Machine._new_set,
    pickle.EMPTY_TUPLE[0]: lambda machine: machine._tuple(0),
    pickle.TUPLE1[0]: lambda machine: machine._tuple(1),
    pickle.TUPLE2[0]: lambda machine: machine._tuple(2),
    pickle.TUPLE3[0]: lambda machine: machine._tuple(3),
    pickle.TUPLE[0]: Machine._marked_tuple,
    pickle.LIST[0]: Machine._marked_list,
    pickle.DICT[0]: Machine._marked_dict,
    pickle.FROZENSET[0]: Machine._frozenset,
    pickle.APPEND[0]: Machine._append,
    pickle.APPENDS[0]: Machine._appends,
    pickle.SETITEM[0]: Machine._set_item,
    pickle.SETITEMS[0]: Machine._set_items,
    pickle.ADDITEMS[0]: Machine._add_items,
    pickle.GLOBAL[0]: Machine._global,
    pickle.STACK_GLOBAL[0]: Machine._stack_global,
    pickle.EXT1[0]: _operand(1, Machine._extension),
    pickle.EXT2[0]: _operand(2, Machine._extension),
    pickle.EXT4[0]: _operand(4, Machine._extension),
    pickle.PERSID[0]: Machine._persistent_line,
    pickle.BINPERSID[0]: Machine._persistent_object,
    pickle.REDUCE[0]: Machine._reduce,
    pickle.NEWOBJ[0]: Machine._new_object,
    pickle.NEWOBJ_EX[0]: Machine._new_object_ex,
    pickle.INST[0]: Machine._inst,
    pickle.OBJ[0]: Machine._obj,
    pickle.BUILD[0]: Machine._build,
    pickle.NEXT_BUFFER[0]: Machine._out_of_band,
    pickle.READONLY_BUFFER[0]: Machine._out_of_band,
}
"""Instruction to what it does to the stack."""
