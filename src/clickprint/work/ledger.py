"""The ledger of tests: how often which test items were scored, by which recipes, and when.

A folder can be removed and a recipe changed; a test that was seen stays seen. So the ledger lies
outside of all folders: the file CLICKPRINT_LEDGER, or ~/.local/state/clickprint/tests.jsonl. It
has a line for each call that scored something of a test; nothing ever removes one.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.forms import json_of
from clickprint.core.options import NotEmpty, read
from clickprint.work.facts import commit
from clickprint.work.folder import digest

Text = Annotated[str, NotEmpty()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One call that scored units of a recipe on test items.

    - `fingerprint`, `protocol`: of the data, and how its test items are made: which items.
    - `recipe`, `digest`: the recipe's name, and a digest of its text.
    - `units`: what was scored, as `MODEL/SEED`.
    - `note`: a sentence for whom reads about it.
    """

    when: Text
    fingerprint: Text
    protocol: Text
    recipe: Text
    digest: Text
    units: tuple[str, ...] = ()
    commit: str = ""
    note: str = ""


def file() -> Path:
    """Where the ledger of this machine lies."""
    if named := os.environ.get("CLICKPRINT_LEDGER"):
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "clickprint" / "tests.jsonl"


def record(
    fingerprint: str, protocol: str, recipe: str, text: str, units: Sequence[str]
) -> Scored:
    """Write down, before it happens, that these units of a recipe are scored on a test.

    Raises ConfigError where the ledger cannot be written: then nothing is to be scored.
    """
    made = Scored(
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        fingerprint=fingerprint,
        protocol=protocol,
        recipe=recipe,
        digest=digest(text),
        units=tuple(units),
        commit=commit(),
    )
    to = file()
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with to.open("ab", buffering=0) as ledger:  # one write, so that processes do not mix
            ledger.write(line(made).encode())
    except OSError as fault:
        raise ConfigError(
            f"{to}: the ledger of tests cannot be written ({fault.strerror}), so nothing is"
            " scored; name another file in CLICKPRINT_LEDGER"
        ) from None
    return made


def line(of: Scored) -> str:
    """A line of a ledger."""
    return json.dumps(asdict(of), ensure_ascii=False) + "\n"


def entries(of: Path) -> list[Scored]:
    """All lines of a ledger, the oldest first; none where there is no file. Raises DataError."""
    if not of.exists():
        return []
    try:
        lines = of.read_text("utf-8").splitlines()
    except (OSError, ValueError) as fault:
        raise DataError(of, f"the ledger of tests cannot be read ({fault}); repair it") from None
    found, faults = [], []
    for number, text in enumerate(lines, 1):
        try:
            found.append(read(Scored, json_of(text, of), where=f"line {number}"))
        except (ConfigError, DataError, TypeError) as fault:
            faults.append(f"line {number} is none of a ledger of tests ({fault}); repair it")
    if faults:
        raise DataError(of, faults[:3])
    return sorted(found, key=lambda t: t.when)


def words(fingerprint: str, protocol: str, some: Iterable[Scored] | None = None) -> list[str]:
    """How often the test items of these data and this protocol were scored: a line, and notes.

    By this machine's ledger, or by `some` lines.
    """
    known = entries(file()) if some is None else some
    found = [t for t in known if (t.fingerprint, t.protocol) == (fingerprint, protocol)]
    if not found:
        return [f"the ledger of tests knows no scoring of these test items ({protocol})"]
    texts: dict[tuple[str, str], list[Scored]] = {}
    for each in found:
        texts.setdefault((each.recipe, each.digest), []).append(each)
    told = []
    for (recipe, text), calls in texts.items():
        units = len({unit for call in calls for unit in call.units})
        days = list(dict.fromkeys(call.when[:10] for call in calls))
        told.append(f"{recipe} ({text[:8]}) on {', '.join(days)}: {units} units")
    one = len(texts) == 1
    many = "one text of a recipe" if one else f"{len(texts)} texts of recipes"
    said = f"these test items ({protocol}) were scored by {many}: {'; '.join(told)}"
    if not one:
        said += "; whoever chose a later one could have seen the test"
    return [said, *dict.fromkeys(t.note for t in found if t.note)]
