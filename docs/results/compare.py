"""Whether two folders of a run, a ranking, a study or a next purchase hold the same numbers.

python docs/results/compare.py OLD NEW                      # exit status 1 where a number differs
python docs/results/compare.py OLD NEW seen=include_seen    # a name that changed: files and keys

Names may have changed and words too: only numbers count. Keys that one side alone has are paired
by equal values, else in their order where they are equally many, and told. Facts of the machine
(seconds, memory, commits, digests of code) and pictures are left out.
"""

import csv
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Files that tell what a run cost or was made from, or that draw the numbers of other files.
SKIPPED = ("facts.json", "inputs.json", ".lock", "dvc.lock", "trials.csv")
FOLDERS = ("facts", "plots", "mlflow", "tracking", ".dvc")
COMPARED = {".json", ".csv", ".npy", ".parquet"}
TOLD = {
    *("seconds", "peak_mib", "commit", "versions", "machine", "code", "clickprint", "format"),
    *("digest", "inputs", "fingerprint", "made", "threads", "report"),
}


def files(folder: Path, names: Mapping[str, str]) -> dict[str, Path]:
    """The files of a folder that hold numbers, by their paths in new names."""
    found = {}
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder)
        left_out = file.name in SKIPPED or any(part in FOLDERS for part in path.parts)
        if file.is_file() and file.suffix in COMPARED and not left_out:
            found[renamed(path.as_posix(), names)] = file
    return found


def renamed(text: str, names: Mapping[str, str]) -> str:
    """A path or key whose words have their new names."""
    parts = (names.get(part, part) for part in text.split("/"))
    stems = (
        names[p.rpartition(".")[0]] + "." + p.rpartition(".")[2]
        if p.rpartition(".")[0] in names
        else p
        for p in parts
    )
    return "/".join(stems)


def contents(file: Path) -> Any:
    """What a file holds: arrays, lists and dicts."""
    if file.suffix == ".npy":
        return np.load(file, allow_pickle=False)
    if file.suffix == ".parquet":
        from pyarrow import parquet

        return parquet.read_table(file).to_pydict()
    text = file.read_text("utf-8")
    return json.loads(text) if file.suffix == ".json" else list(csv.DictReader(text.splitlines()))


def differences(a: Any, b: Any, path: str, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(`number` or `name`, what differs) of two contents."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        alike = a.dtype == b.dtype and a.shape == b.shape
        if not alike or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            yield "number", f"{path}: {_array(a)} and {_array(b)} are not equal"
    elif isinstance(a, Mapping) and isinstance(b, Mapping):
        a = {renamed(str(k), names): v for k, v in a.items() if k not in TOLD}
        b = {str(k): v for k, v in b.items() if k not in TOLD}
        paired = pairs(a, b)
        for k, other in paired.items():
            yield "name", f"{path}: {k} is called {other}"
        alone = [k for k in (a.keys() ^ b.keys()) if k not in {*paired, *paired.values()}]
        for k in sorted(alone):
            values = list(numbers(a.get(k, b.get(k))))
            kind = "number" if values else "name"
            yield kind, f"{path}.{k}: only in {'OLD' if k in a else 'NEW'}"
        for k, value in a.items():
            if (other := paired.get(k, k)) in b:
                yield from differences(value, b[other], f"{path}.{other}", names)
    elif isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            yield "number", f"{path}: {len(a)} and {len(b)} rows"
        for n, (one, other) in enumerate(zip(a, b, strict=False)):
            yield from differences(one, other, f"{path}[{n}]", names)
    elif number(a) is not None or number(b) is not None:
        x, y = number(a), number(b)
        if x is None or y is None or not (x == y or (math.isnan(x) and math.isnan(y))):
            yield "number", f"{path}: {a!r} and {b!r}"
    elif isinstance(a, Mapping | list) or isinstance(b, Mapping | list):
        # Another form of the same: its numbers must stand in the same order.
        equal = np.array_equal(list(numbers(a)), list(numbers(b)), equal_nan=True)
        yield "name" if equal else "number", f"{path}: has another form"
    elif a != b and names.get(str(a)) != b:
        yield "name", f"{path}: {a!r} and {b!r}"


def pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, str]:
    """Keys that A alone has → their names in B: those of an equal value, then in their order."""
    old, new = [k for k in a if k not in b], [k for k in b if k not in a]
    found: dict[str, str] = {}
    for k in old:
        if (other := next((n for n in new if same(a[k], b[n])), None)) is not None:
            found[k] = other
            new.remove(other)
    left = [k for k in old if k not in found]
    return found | (dict(zip(left, new, strict=True)) if len(left) == len(new) else {})


def same(a: Any, b: Any) -> bool:
    """Whether two values have the same numbers; where they have none, whether they are equal."""
    x, y = list(numbers(a)), list(numbers(b))
    return np.array_equal(x, y, equal_nan=True) if x or y else a == b


def numbers(value: Any) -> Iterator[float]:
    """Every number in a content."""
    if isinstance(value, Mapping):
        value = [v for k, v in value.items() if k not in TOLD]
    if isinstance(value, list | np.ndarray):
        for each in value:
            yield from numbers(each)
    elif (found := number(value)) is not None:
        yield found


def number(value: Any) -> float | None:
    """A number, or a text that is one; None for anything else."""
    if isinstance(value, bool) or value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _array(values: np.ndarray) -> str:
    return f"{values.dtype} {list(values.shape)}"


def main(old: Path, new: Path, names: Mapping[str, str]) -> int:
    """Print what differs; 1 where a number does."""
    mine, others = files(old, names), files(new, {})
    told: dict[str, list[str]] = {"number": [], "name": []}
    for path in sorted({*mine, *others}):
        if path not in mine or path not in others:
            told["name"].append(f"{path}: only in {'OLD' if path in mine else 'NEW'}")
            continue
        a, b = contents(mine[path]), contents(others[path])
        for kind, said in differences(a, b, path, names):
            told[kind].append(said)
    both = len({*mine} & {*others})
    show("names and words", told["name"])
    show("numbers", told["number"])
    equal = "differ" if told["number"] else "are equal"
    print(f"the numbers of {both} files {equal}")
    return int(bool(told["number"]) or not both)


def show(what: str, lines: Sequence[str], most: int = 40) -> None:
    """Print differences; equal ones of several rows are one line."""
    counts = Counter(re.sub(r"\[\d+\]", "[…]", line)[:300] for line in lines)
    if counts:
        print(f"{what}: {len(lines)} differences")
        print(*(f"  {line}  ({n} times)" for line, n in counts.most_common(most)), sep="\n")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    changed = {a: b for a, _, b in (word.partition("=") for word in sys.argv[3:])}
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), changed))
