"""What goes wrong on purpose, and what is counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

# Keys of a fault that say how it acts (the numbers, and the words); every other key says what it is limited to.
Reader = Callable[[dict[str, object]], dict[str, object]]
_NUMBERS = frozenset({"seconds", "value", "sessions", "sessions_ago", "price", "code", "size", "fraction"})
_WORDS = frozenset({"field", "text"})


@dataclass(slots=True)
class Fault:
    """One fault: its kind, what it is limited to (no key: everything), how often still (None: always), its options."""

    kind: str
    only: Mapping[str, str] = field(default_factory=dict)
    times: int | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    # How many occasions pass by before it acts.
    skip: int = 0

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Tell whether a request with these attributes meets the fault's limits."""
        return all(_spelled(key, attributes.get(key, "")) == _spelled(key, value) for key, value in self.only.items())

    def number(self, name: str, default: float) -> float:
        """Return an option as a number; ValueError where it is none."""
        value = self.options.get(name, default)
        if not isinstance(value, int | float):
            raise ValueError(f"{name} of a {self.kind} fault is a number, not {value!r}")
        return float(value)

    def shown(self) -> dict[str, object]:
        """Return the fault as it was posted, `times` being what is left."""
        shown = {"kind": self.kind, **self.only, **self.options, "times": self.times}
        return shown | {"skip": self.skip} if self.skip else shown


def _spelled(key: str, value: str) -> str:
    """Return a value as it is compared: a symbol means the same in any spelling (BRK.B, BRK-B, BRK B)."""
    return value.upper().replace("-", ".").replace(" ", ".") if key == "symbol" else value


class Faults:
    """The faults in force; a simulator registers the kinds it knows, so that a misspelled one is refused."""

    def __init__(self) -> None:
        """Start with no kind known and no fault in force."""
        self._kinds: dict[str, str] = {}
        self._choices: dict[str, frozenset[str]] = {}
        self._readers: dict[str, Reader] = {}
        self._limits: frozenset[str] = frozenset()
        self._faults: list[Fault] = []
        self._subscribers: list[Callable[[], None]] = []

    def register(
        self,
        kinds: Mapping[str, str],
        *,
        choices: Mapping[str, Collection[str]] | None = None,
        readers: Mapping[str, Reader] | None = None,
        limits: Collection[str] = (),
    ) -> None:
        """Make kinds known, each with a sentence that says what it does, and what its words may be.

        A kind with a reader has exactly the fields that its reader returns; those named in `limits` say what it is
        limited to (empty: nothing), the others how it acts.
        """
        self._kinds.update(kinds)
        self._choices.update({name: frozenset(words) for name, words in (choices or {}).items()})
        self._readers.update(readers or {})
        self._limits |= frozenset(limits)

    def subscribe(self, called: Callable[[], None]) -> Callable[[], None]:
        """Call `called` after every fault that is put in force or ended; the returned function ends that."""
        self._subscribers.append(called)
        return lambda: self._subscribers.remove(called)

    def _tell(self) -> None:
        for called in tuple(self._subscribers):
            called()

    def kinds(self) -> dict[str, str]:
        """Return every known kind and what it does."""
        return dict(sorted(self._kinds.items()))

    def add(self, spec: Mapping[str, object]) -> Fault:
        """Put a fault in force, as `{"kind": "http_503", "function": "OVERVIEW", "symbol": "IBM", "times": 2}`.

        Raises:
            ValueError: for a kind that no simulator registered, a `times` that is no whole number above 0, an option
                that is not the number or the word it must be, or a limit that is no text.
        """
        kind, times = spec.get("kind"), spec.get("times")
        if not isinstance(kind, str) or kind not in self._kinds:
            raise ValueError(f"no fault is called {kind!r}; there are: {', '.join(self.kinds())}")
        if times is not None and (not isinstance(times, int) or isinstance(times, bool) or times < 1):
            raise ValueError(f"times is a whole number above 0, not {times!r}")
        skip = spec.get("skip", 0)
        if not isinstance(skip, int) or isinstance(skip, bool) or skip < 0:
            raise ValueError(f"skip is a whole number from 0 up, not {skip!r}")
        rest = {key: value for key, value in spec.items() if key not in {"kind", "times", "skip"}}
        if kind in self._readers:
            rest = self._readers[kind](rest)
            only = {key: str(value) for key, value in rest.items() if key in self._limits and value != ""}
            options = {key: value for key, value in rest.items() if key not in self._limits}
        else:
            for key, value in rest.items():
                self._check(key, value)
            only = {key: str(value) for key, value in rest.items() if key not in (_NUMBERS | _WORDS)}
            options = {key: value for key, value in rest.items() if key in (_NUMBERS | _WORDS)}
        fault = Fault(kind, only, times, options, skip)
        self._faults.append(fault)
        self._tell()
        return fault

    def _check(self, key: str, value: object) -> None:
        if key in _NUMBERS:
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
                raise ValueError(f"{key} is a number, not {value!r}")
        elif not isinstance(value, str | int):
            raise ValueError(f"{key} is a text, not {value!r}")
        elif value not in self._choices.get(key, {value}):
            raise ValueError(f"{key} is one of {', '.join(sorted(self._choices[key]))}; not {value!r}")

    def take(self, *kinds: str, **attributes: str) -> Fault | None:
        """Return the oldest fault of these kinds that meets the attributes, used up by one; None where none does.

        Without kinds, any registered one.
        """
        for fault in self._faults:
            if (not kinds or fault.kind in kinds) and fault.matches(attributes):
                if fault.skip:
                    fault.skip -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._faults.remove(fault)
                return fault
        return None

    def pop(self, *kinds: str) -> Fault | None:
        """Return the oldest fault of these kinds, whatever it is limited to, and end it; None where there is none."""
        for fault in self._faults:
            if fault.kind in kinds:
                self._faults.remove(fault)
                return fault
        return None

    def active(self, *kinds: str, **attributes: str) -> Fault | None:
        """Return what `take` would, and use nothing up."""
        found = (f for f in self._faults if (not kinds or f.kind in kinds) and not f.skip and f.matches(attributes))
        return next(found, None)

    def clear(self, kind: str | None = None) -> None:
        """End every fault, or every one of a kind."""
        self._faults = [fault for fault in self._faults if kind is not None and fault.kind != kind]
        self._tell()

    def shown(self) -> list[dict[str, object]]:
        """Return the faults in force, oldest first."""
        return [fault.shown() for fault in self._faults]


class Counters:
    """Counts by simulator and name: requests by function, messages by type."""

    def __init__(self) -> None:
        """Start at nothing counted."""
        self._counts: dict[str, Counter[str]] = {}

    def add(self, simulator: str, name: str, by: int = 1) -> None:
        """Count something."""
        self._counts.setdefault(simulator, Counter())[name] += by

    def value(self, simulator: str, name: str) -> int:
        """Return a count (0: never)."""
        return self._counts.get(simulator, Counter())[name]

    def shown(self) -> dict[str, dict[str, int]]:
        """Return every count, names sorted."""
        return {name: dict(sorted(counts.items())) for name, counts in sorted(self._counts.items())}
