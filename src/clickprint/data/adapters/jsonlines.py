"""JSON lines as something to select from, line by line and in bounded memory.

One broken line is one counted line.
"""

import ast
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from clickprint.core.errors import first_line
from clickprint.data.adapters.staging import BLOCK, ROW, FaultsOfArrow
from clickprint.data.check import file_fault, refuse, sift
from clickprint.data.engine import Engine, json_kind_sql, json_kinds_sql, json_texts_sql, name
from clickprint.data.parquet import TableWriter

LONGEST = 16 << 20  # bytes of a line; the longest public ones have some hundred thousand
LINES = pa.schema([("line", pa.string()), (ROW, pa.int64())])
MARK = b"\xef\xbb\xbf"
# What DuckDB calls the values that can be an id.
IDS = "('VARCHAR', 'UBIGINT', 'BIGINT', 'HUGEINT', 'UHUGEINT')"
TOO_LONG, NOT_UTF8 = "a line of more than 16 MiB", "a line that is not UTF-8"


def objects(
    engine: Engine,
    paths: Sequence[Path],
    target: Path,
    where: Path,
    prefix: str,
    *,
    loose: bool = False,
) -> tuple[str, dict[str, int]]:
    """SQL (`line`, ROW) of the lines that are a JSON object, and the others counted by reason.

    Empty lines do not count. The lines go to the Parquet file `target`, in blocks of a few MB;
    .gz, .bz2 and .zst are unpacked. `loose`: a line that starts with `{'` is the text of a Python
    dict, as metadata of 2014 have them. Raises DataError with each file that is missing, empty or
    damaged.
    """
    what = "JSON lines"
    faults = [f"{p.name}: {fault}" for p in paths if (fault := file_fault(p, what))]
    refuse(where, faults)
    bad = {TOO_LONG: 0, NOT_UTF8: 0}
    start = 0
    with TableWriter(target, LINES) as writer:
        for path in paths:
            try:
                for lines in _lines(path, bad):
                    if loose:
                        lines = [
                            _strict(one) if one.lstrip()[:2] == b"{'" else one for one in lines
                        ]
                    texts = _texts(lines, bad)
                    rows = pa.array(np.arange(start, start + len(texts), dtype=np.int64))
                    writer.write_table(pa.Table.from_arrays([texts, rows], schema=LINES))
                    start += len(texts)
            except FaultsOfArrow as fault:
                said = f"cannot be unpacked to its end ({first_line(fault)})"
                faults.append(f"{path.name}: {said}; copy or download it again")
    refuse(where, faults)
    sort = json_kind_sql("line")
    staged = f"SELECT line, {name(ROW)}, {sort} AS sort FROM {engine.scan([target])}"
    reasons = [
        ("sort IS NULL", "a line that is no JSON"),
        ("sort <> 'OBJECT'", "a line that is no JSON object"),
    ]
    good, _, also = sift(engine, staged, reasons, prefix)
    return good, {prefix + reason: n for reason, n in bad.items() if n} | also


def fields(rows: str, keys: Sequence[str]) -> str:
    """SQL: of each line of `objects` ROW and the values of these keys; of a double key the first.

    A column `key` holds the text of a value, that of a list or object as JSON; `key sort` what
    sort of value it is, in the engine's words. Both are null where the key is missing; of a JSON
    null the sort is the text NULL.
    """
    values, sorts = json_texts_sql("line", keys), json_kinds_sql("line", keys)
    both = f"SELECT {name(ROW)}, {values} AS v, {sorts} AS s FROM ({rows}) AS o"
    picks = ", ".join(
        f"v[{n}] AS {name(k)}, s[{n}] AS {name(f'{k} sort')}" for n, k in enumerate(keys, 1)
    )
    return f"SELECT {name(ROW)}, {picks} FROM ({both}) AS b"


def id_sql(key: str) -> str:
    """A text or a whole number of `fields`; null for anything else (NaN, 1.5, true, a list)."""
    return f"CASE WHEN {name(f'{key} sort')} IN {IDS} THEN NULLIF({name(key)}, '') END"


def text_sql(key: str) -> str:
    """A text of `fields`; null for anything else."""
    return f"CASE WHEN {name(f'{key} sort')} = 'VARCHAR' THEN NULLIF({name(key)}, '') END"


def _lines(path: Path, bad: dict[str, int]) -> Iterator[list[bytes]]:
    """A block's whole lines, without the empty ones; what is longer than LONGEST is counted and
    never held.
    """
    rest, skipping, first = b"", False, True
    with pa.input_stream(str(path), compression="detect") as file:
        while raw := file.read(BLOCK):
            if first:
                raw, first = raw.removeprefix(MARK), False
            *done, last = raw.split(b"\n")
            if done:
                if skipping:
                    done, skipping = done[1:], False
                else:
                    done[0] = rest + done[0]
                rest = last
            elif not skipping:
                rest += last
            if len(rest) > LONGEST:
                rest, skipping = b"", True
                bad[TOO_LONG] += 1
            bad[TOO_LONG] += sum(len(line) > LONGEST for line in done)
            if found := [line for line in done if line.strip() and len(line) <= LONGEST]:
                yield found
    if rest.strip():
        yield [rest]


def _texts(lines: list[bytes], bad: dict[str, int]) -> pa.Array:
    try:
        return pa.array(lines, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        good = [line for line in lines if _is_text(line)]
        bad[NOT_UTF8] += len(lines) - len(good)
        return pa.array(good, pa.binary()).cast(pa.string())


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _strict(line: bytes) -> bytes:
    """A Python dict's text as JSON; another line as it is, so that it is counted as no JSON.

    No library reads this form, so each line goes through Python's own parser of literals, which
    runs nothing.
    """
    try:
        return json.dumps(ast.literal_eval(line.strip().decode()), allow_nan=False).encode()
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return line
