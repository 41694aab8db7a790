"""`dataclass` for values, of which a command loads a hundred kinds: as dataclasses' own, but made in a quarter of its time.

dataclasses writes and compiles six methods for each class; here a class has its own `__init__` alone, and shares the others. What is `frozen`
takes each attribute once. `fields`, `replace` and `asdict` are dataclasses'.
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
        dataclasses.dataclass(cls, eq=order, repr=False, order=order)
        compared = [field.name for field in dataclasses.fields(cls) if field.compare]
        if eq:
            cls._compared = staticmethod(attrgetter(*compared) if compared else lambda value: ())
            cls.__eq__ = own.get("__eq__", _equal)
            cls.__hash__ = own.get("__hash__") or (_hash if frozen else None)
        if frozen:
            cls.__setattr__, cls.__delattr__ = _set_once, _kept
        if repr:
            cls.__repr__ = own.get("__repr__", _shown)
        return cls

    def _equal(self, other):
        return self._compared(self) == other._compared(other) if type(self) is type(other) else NotImplemented

    def _hash(self):
        return hash(self._compared(self))

    def _set_once(self, name, value):
        if name in self.__dict__:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        self.__dict__[name] = value

    def _kept(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def _shown(self):
        values = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
        return f"{type(self).__qualname__}({', '.join(values)})"
