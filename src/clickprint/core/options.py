"""The one reader of options: mappings (TOML, JSON, the command line) to dataclasses and callables.

Annotations say what an option takes, ranges included. All faults are collected, each with its
path: `models.sasrec.dropout: found 1.2, expected 0 to below 1`.
"""

import inspect
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from math import isfinite
from numbers import Integral, Real
from pathlib import Path
from re import Pattern
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from clickprint.core.errors import ConfigError

T = TypeVar("T")
INSTALLED = Path(__file__).parents[1]
SHOWN = 60  # characters of a wrong value that a message shows


# -- ranges -----------------------------------------------------------------------------------


@runtime_checkable
class Rule(Protocol):
    """A condition beyond the type, as an annotation: `Annotated[int, AtLeast(1)]`."""

    @property
    def expected(self) -> str: ...

    def holds(self, value: Any) -> bool: ...


@dataclass(frozen=True, slots=True)
class AtLeast:
    low: int | float

    @property
    def expected(self) -> str:
        return f"at least {_number(self.low)}"

    def holds(self, value: Any) -> bool:
        return bool(value >= self.low)


@dataclass(frozen=True, slots=True)
class Between:
    """A number from `low` to `high`. An open end does not belong to the range."""

    low: int | float
    high: int | float
    low_open: bool = False
    high_open: bool = False

    @property
    def expected(self) -> str:
        low = f"above {_number(self.low)}" if self.low_open else _number(self.low)
        between = ", " if self.low_open else " to "
        high = "below " if self.high_open else "at most " if self.low_open else ""
        return f"{low}{between}{high}{_number(self.high)}"

    def holds(self, value: Any) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        return bool(above and (value < self.high if self.high_open else value <= self.high))


@dataclass(frozen=True, slots=True, init=False)
class OneOf:
    choices: tuple[Any, ...]

    def __init__(self, *choices: Any) -> None:
        object.__setattr__(self, "choices", choices)

    @property
    def expected(self) -> str:
        return f"one of {', '.join(map(str, self.choices))}"

    def holds(self, value: Any) -> bool:
        return value in self.choices


@dataclass(frozen=True, slots=True)
class NotEmpty:
    expected: str = "at least one"

    def holds(self, value: Any) -> bool:
        return len(value) > 0


@dataclass(frozen=True, slots=True)
class Distinct:
    expected: str = "each once"

    def holds(self, value: Any) -> bool:
        return len(set(value)) == len(value)


@dataclass(frozen=True, slots=True)
class Matches:
    """A text of which the whole matches a pattern; `expected` says so in words."""

    pattern: Pattern[str]
    expected: str

    def holds(self, value: Any) -> bool:
        return self.pattern.fullmatch(value) is not None


HORIZON = Between(1, 36_500)  # days of a window that is asked about


# -- faults -----------------------------------------------------------------------------------


class Fault(NamedTuple):
    """What is wrong with the option at a path; the path is empty for the whole."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}" if self.path else self.problem

    def under(self, path: str) -> "Fault":
        """The same fault, seen from a table that holds this one at `path`."""
        dot = "." if path and self.path and not self.path.startswith("[") else ""
        return Fault(f"{path}{dot}{self.path}", self.problem)


class OptionsError(ConfigError):
    """Options that cannot be taken, with every fault. `where` names the file, if there is one."""

    def __init__(self, where: str, faults: Sequence[Fault]) -> None:
        assert faults, "an OptionsError without a fault"
        self.where, self.faults = where, tuple(faults)
        super().__init__(where, self.faults)

    def __str__(self) -> str:
        head = f"{self.where}: " if self.where else ""
        if len(self.faults) == 1:
            return f"{head}{self.faults[0]}"
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        return f"{head}{len(self.faults)} faults{lines}"


@runtime_checkable
class ReadsItself(Protocol):
    """A class whose instances are read in a way of its own: `raw` is what stands at `path`."""

    @classmethod
    def read_options(cls, raw: Any, path: str, faults: "Faults") -> Any: ...


class Faults:
    """Reads options and collects what is wrong with them."""

    def __init__(self) -> None:
        self._found: list[Fault] = []

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._found)

    def add(self, path: str, problem: str) -> None:
        self._found.append(Fault(path, problem))

    def refuse(self, where: str) -> None:
        """Raises OptionsError where there is a fault."""
        if self._found:
            raise OptionsError(where, self._found)

    def attempt(self, path: str, make: Callable[[], T]) -> T | None:
        """What `make` answers; None where it refuses, which is then a fault at `path`."""
        try:
            return make()
        except OptionsError as fault:
            self._found += [each.under(path) for each in fault.faults]
        except ConfigError as fault:
            self.add(path, str(fault))
        return None

    def unknown(self, raw: Mapping[str, Any], known: Collection[str], path: str) -> None:
        """Every key of a table that nobody knows is a fault."""
        for key in raw:
            if key not in known:
                self._found.append(Fault(key, _unknown(key, known)).under(path))

    def known(self, name: Any, names: Collection[str], path: str, more: str = "") -> bool:
        """Whether a name is one of these; else that is a fault. `more` is added to it."""
        if isinstance(name, str) and name in names:
            return True
        self.add(path, f"{shown(name)} is {_unknown(name, names)}{more}")
        return False

    def options(
        self, form: Callable[..., Any], raw: Any, path: str, *, skip: Collection[str] = ()
    ) -> dict[str, Any]:
        """The keyword options of a class or function, as its annotations have them.

        `skip`: parameters that are no options.
        """
        if not isinstance(raw, Mapping):
            self.add(path, f"found {shown(raw)}, expected a table")
            return {}
        hints = _hints(form)
        takes = {n: p for n, p in _parameters(form).items() if n not in skip}
        self.unknown(raw, takes, path)
        found = {}
        for name, parameter in takes.items():
            at = f"{path}.{name}" if path else name
            if name in raw:
                found[name] = self.value(raw[name], hints.get(name, Any), at)
            elif parameter.default is inspect.Parameter.empty:
                self.add(at, f"missing, expected {_expected(hints.get(name, Any))}")
        return found

    def read(
        self,
        form: Callable[..., T],
        raw: Any,
        path: str,
        /,
        *,
        skip: Collection[str] = (),
        **given: Any,
    ) -> T | None:
        """`form`, called with the options that were read; None where there was a fault.

        `given` are further arguments, which the options cannot name.
        """
        before = len(self)
        options = self.options(form, raw, path, skip=(*skip, *given))
        for name, problem in _disagreements(_hints(form), options):
            self.add(f"{path}.{name}" if path else name, problem)
        if len(self) > before:
            return None
        return self.attempt(path, lambda: form(**options, **given))

    def value(self, found: Any, hint: Any, path: str) -> Any:
        """`found` as a type hint wants it; None where there was a fault."""
        before = len(self)
        kind, rules = _rules(hint)
        value = self._typed(found, kind, path)
        if len(self) == before:
            for rule in rules:
                if not rule.holds(value):
                    self.add(path, f"found {shown(found)}, expected {rule.expected}")
                    break
        return value

    def _typed(self, found: Any, hint: Any, path: str) -> Any:
        origin, args = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            return self._one_of(found, args, path)
        if origin is Literal:
            if any(found == a and type(found) is type(a) for a in args):
                return found
        elif isinstance(hint, type) and issubclass(hint, Enum):
            if isinstance(found, hint) or found in [e.value for e in hint]:
                return hint(found)
        elif is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, ReadsItself)):
            return self._recipe(found, hint, path)
        elif _subclass(origin or hint, Mapping):
            if isinstance(found, Mapping):
                return self._mapping(found, args, path)
        elif _subclass(origin or hint, Sequence) and hint is not str:
            if isinstance(found, list | tuple) and (_open(args) or len(found) == len(args)):
                inner = [args[0] if args else Any] * len(found) if _open(args) else args
                pairs = enumerate(zip(found, inner, strict=True))
                made = (self.value(v, a, f"{path}[{i}]") for i, (v, a) in pairs)
                return list(made) if (origin or hint) is list else tuple(made)
        elif hint is float:
            if _numeric(found, Real) and isfinite(found):
                return float(found)
        elif hint is int:
            if _numeric(found, Integral):
                return int(found)
        elif hint is Path:
            if isinstance(found, str | Path) and str(found):
                return Path(found)
        elif _by_instance(hint):
            if isinstance(found, hint):
                return found
        else:
            return found  # an annotation that options need not know: the class itself checks
        self.add(path, f"found {shown(found)}, expected {_expected(hint)}")
        return None

    def _one_of(self, found: Any, arms: Sequence[Any], path: str) -> Any:
        """The first arm of a union that takes what was found.

        Where none does, the faults of an arm of its own type say more than that.
        """
        closest: list[Fault] = []
        for arm in arms:
            here = Faults()
            value = here.value(found, arm, path)
            if not here:
                return value
            if not (len(here) == 1 and here._found[0].problem.endswith(_expected(_rules(arm)[0]))):
                closest = closest or here._found
        if closest:
            self._found += closest
        else:
            self.add(path, f"found {shown(found)}, expected {' or '.join(map(_expected, arms))}")
        return None

    def _recipe(self, found: Any, form: Any, path: str) -> Any:
        if isinstance(found, form):
            return found
        if isinstance(form, type) and issubclass(form, ReadsItself):
            return form.read_options(found, path, self)
        return self.read(form, found, path)

    def _mapping(self, found: Mapping[Any, Any], args: Sequence[Any], path: str) -> dict[Any, Any]:
        of_key, of_value = args if args else (Any, Any)
        return {
            self.value(k, of_key, f"{path}.{k}"): self.value(v, of_value, f"{path}.{k}")
            for k, v in found.items()
        }


def read(
    form: Callable[..., T],
    options: Mapping[str, Any],
    /,
    *,
    where: str = "",
    skip: Collection[str] = (),
    **given: Any,
) -> T:
    """A dataclass, or what a callable answers, from options.

    `where` names the file in messages. `skip`: parameters that are no options. `given`: arguments
    that the options cannot name. Raises OptionsError with every fault.
    """
    faults = Faults()
    made = faults.read(form, options, "", skip=skip, **given)
    faults.refuse(where)
    assert made is not None
    return made


def check(recipe: Any, problems: Iterable[tuple[str, str]] = ()) -> None:
    """Raises OptionsError where a field of a dataclass is not what its annotation says.

    For `__post_init__`. `problems` are pairs of a path and what is wrong with it; as a generator
    they are asked only when every field is right by itself.
    """
    form: Any = type(recipe)
    faults, hints = Faults(), _hints(form)
    for field in fields(recipe):
        if field.init:
            faults.value(getattr(recipe, field.name), hints[field.name], field.name)
    faults.refuse("")
    for path, problem in problems:
        faults.add(path, problem)
    faults.refuse("")


def plain(value: Any) -> Any:
    """A recipe or value as JSON and TOML hold it: the way back from `read`.

    Fields that are not compared, such as a recipe's own text, are left out.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.compare}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bool | int | float | str | types.NoneType):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


# -- files ------------------------------------------------------------------------------------


def read_text(path: Path | str, hint: str) -> str:
    """The text of a recipe. `hint` says which ones come with clickprint. Raises ConfigError.

    What is not in the working directory is looked for in the package: a wheel has `recipes/`.
    """
    path = Path(path)
    if not path.exists() and (INSTALLED / path).is_file() and not path.is_absolute():
        path = INSTALLED / path
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; {hint}") from None
    except OSError as fault:
        raise ConfigError(f"{path}: cannot be read ({fault.strerror}); {hint}") from None
    except UnicodeDecodeError as fault:
        problem = f"not UTF-8 (byte {fault.start}); expected a TOML file in UTF-8"
        raise ConfigError(f"{path}: {problem}") from None


# -- words ------------------------------------------------------------------------------------


def shown(found: object) -> str:
    """A wrong value as a message shows it."""
    dtype, shape = (getattr(found, n, None) for n in ("dtype", "shape"))
    text = repr(found) if dtype is None else f"{dtype} {shape}"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _number(value: int | float) -> str:
    if isinstance(value, int) and value >= 1 << 31 and (value + 1).bit_count() == 1:
        return f"2**{value.bit_length()} - 1"
    return str(value) if isinstance(value, int) else f"{value:g}"


def _unknown(found: object, known: Collection[str]) -> str:
    names = sorted(known)
    near = get_close_matches(str(found), names, 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"unknown; known: {', '.join(names) or 'none'}{hint}"


WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    types.NoneType: "nothing",
}


def _expected(hint: Any) -> str:
    """What a type takes, in words."""
    hint, rules = _rules(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_expected, args))
    if origin is Literal:
        return f"one of {', '.join(map(repr, args))}"
    if rules and isinstance(rules[0], OneOf | Matches):
        return rules[0].expected
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of {', '.join(repr(e.value) for e in hint)}"
    if hint in WORDS:
        return WORDS[hint]
    if is_dataclass(hint) or _subclass(origin or hint, Mapping):
        return "a table"
    if _subclass(origin or hint, Sequence):
        if not _open(args):
            return f"a list of {len(args)} values"
        return f"a list, each {_expected(args[0])}" if args else "a list"
    return getattr(hint, "__name__", str(hint))


# -- annotations ------------------------------------------------------------------------------


def _rules(hint: Any) -> tuple[Any, tuple[Rule, ...]]:
    """A type without its annotations, and those of them that are rules."""
    if get_origin(hint) is not Annotated:
        return hint, ()
    kind, *notes = get_args(hint)
    return kind, tuple(n for n in notes if isinstance(n, Rule))


def _numeric(found: object, kind: type) -> bool:
    """Whether a value is a number of this kind; True and False are none."""
    return isinstance(found, kind) and found is not True and found is not False


def _subclass(kind: Any, of: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, of)


def _by_instance(hint: Any) -> bool:
    """Whether a value of a type is one of its instances: no number, and nothing to convert."""
    known = hint in (bool, str, types.NoneType) or _dimensions(hint) is not None
    return known or bool(getattr(hint, "_is_runtime_protocol", False))


def _dimensions(hint: Any) -> list[str] | None:
    """The names of an array's dimensions, as in `Int64[np.ndarray, "U"]`; None for other types."""
    text: str | None = getattr(hint, "dim_str", None)
    return None if text is None else text.split()


def _disagreements(
    hints: Mapping[str, Any], options: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Arrays whose dimensions differ from those of the same name before them, and how."""
    sizes = dict[str, tuple[int, str]]()
    for name, hint in hints.items():
        names, shape = _dimensions(hint), getattr(options.get(name), "shape", ())
        for dimension, size in zip(names or (), shape, strict=False):
            if dimension.isidentifier() and dimension != "_":
                known, of = sizes.setdefault(dimension, (size, name))
                if known != size:
                    yield name, f"found {size} {dimension}, expected the {known} of {of}"


def _open(args: Sequence[Any]) -> bool:
    """Whether a sequence's type says nothing of its length."""
    return len(args) < 2 or args[-1] is Ellipsis


@lru_cache(maxsize=256)
def _hints(form: Any) -> dict[str, Any]:
    return get_type_hints(form, include_extras=True)


@lru_cache(maxsize=256)
def _parameters(form: Any) -> dict[str, inspect.Parameter]:
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {n: p for n, p in inspect.signature(form).parameters.items() if p.kind not in variable}
