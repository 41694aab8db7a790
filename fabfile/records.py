"""`dataclass` for values, of which a command loads a hundred kinds: as dataclasses' own, but made in a quarter of its time.

dataclasses writes and compiles six methods for each class; here a class has its own `__init__` alone, and shares the others. `fields`, `replace`
and `asdict` are dataclasses'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    import dataclasses
    from operator import attrgetter

    def dataclass(cls=None, /, *, frozen=False, eq=True, repr=True, order=False):
        """dataclasses.dataclass: with these parameters, a class decorator; of a class alone, the decorated class."""
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, eq=eq, repr=repr, order=order)
        own = vars(cls).copy()
        dataclasses.dataclass(cls, init=False, eq=order, repr=False, order=order)
        fields = dataclasses.fields(cls)
        cls.__init__ = _made(cls, fields)
        if eq:
            compared = [field.name for field in fields if field.compare]
            cls._compared = staticmethod(attrgetter(*compared) if compared else lambda value: ())
            cls.__eq__ = own.get("__eq__", _equal)
            cls.__hash__ = own.get("__hash__") or (_hash if frozen else None)
        if frozen:
            cls.__setattr__, cls.__delattr__ = _refused, _refused
        if repr:
            cls.__repr__ = own.get("__repr__", _shown)
        return cls

    def _made(cls, fields):
        """An `__init__` for these fields, as dataclasses' own: it writes past `__setattr__`, which refuses it in what is frozen."""
        known, parameters, lines = {"__missing": dataclasses.MISSING}, ["self"], ["__values = self.__dict__"]
        for field in fields:
            name, default, given = field.name, f"__of_{field.name}", ""
            value = name
            if field.default is not dataclasses.MISSING:
                known[default], given = field.default, f"={default}"
            elif field.default_factory is not dataclasses.MISSING:
                known[default], given = field.default_factory, "=__missing"
                value = f"{default}() if {name} is __missing else {name}"
            parameters.append(name + given)
            lines.append(f"__values[{name!r}] = {value}")
        if hasattr(cls, "__post_init__"):
            lines.append("self.__post_init__()")
        body = "\n ".join(lines)
        exec(f"def __init__({', '.join(parameters)}):\n {body}", known)
        known["__init__"].__qualname__ = f"{cls.__qualname__}.__init__"
        return known["__init__"]

    def _equal(self, other):
        return self._compared(self) == other._compared(other) if type(self) is type(other) else NotImplemented

    def _hash(self):
        return hash(self._compared(self))

    def _refused(self, name, *value):
        raise dataclasses.FrozenInstanceError(f"cannot {'assign to' if value else 'delete'} field {name!r}")

    def _shown(self):
        values = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
        return f"{type(self).__qualname__}({', '.join(values)})"
