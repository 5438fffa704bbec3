"""Malformed inputs, drawn by seed: a command refuses cleanly or does the whole of what was asked.

python tests/fuzz.py                  # 1,500 cases, and docs/results/fuzz.md
python tests/fuzz.py outputs 17       # one case again, and what became of it

Each group is a function of a folder of its own and a generator; it lays the case and returns what
is run and what must come of it. A case is `group number`; nothing else says what it holds.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import numpy as np

import forks
from clickprint.apps.cli.main import main
from clickprint.apps.next.recipe import load as load_next
from clickprint.apps.rank.recipe import load as load_rank
from clickprint.apps.run.recipe import load as load_run
from clickprint.apps.scale.recipe import load as load_scale
from clickprint.core.errors import ClickprintError
from clickprint.core.profiles import Profiles

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results" / "fuzz.md"
SECONDS = 60.0  # after which a case hangs, on a busy machine too
ROWS = 300
KINDS = {"see": "view", "cart": "cart", "buy": "buy"}
MAPPING = """
[events]
files = "log.csv"
user = "user"
item = "item"
price = "price"
quantity = "quantity"
session = "session"
time = { column = "time", format = "%Y-%m-%d %H:%M:%S" }
[events.kind]
column = "kind"
values = { see = "view", cart = "cart", buy = "buy" }
"""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but tab and the end of a line
WORDS = ("0", "-0", "-1", "1.5", "nan", "inf", "1e30", "9" * 40, "", " ", "\x1b[31m", "a" * 5000,
         "0x10", "1_0", "٣", "--", "=", "../x", "7\n8", "None", "1,5", "+", "\udcff",
         "true", "2")  # fmt: skip


@dataclass
class Case:
    """What is run, and what must come of it."""

    run: Callable[[], object]  # an exit code, or an error of ours
    must: str = ""  # "refuse", "do", or either
    may_change: set[str] = field(default_factory=set)  # of what was there, below the case's folder
    new: Path | None = None  # is not there after a refusal
    kept: Callable[[], str] = str  # "" or what a finished case lost


@dataclass(frozen=True)
class Ended:
    how: str  # done, refused, or one of FAULTS
    what: str


FAULTS = ("traceback", "wrongly accepted", "wrongly refused", "silent loss", "hang")
WELL = ("done", "refused")


# -- what is there ----------------------------------------------------------------------------


class World:
    """A small log, its dataset and profiles: each case gets a copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plain = folder / "plain"
        self.plain.mkdir()
        (self.plain / "map.toml").write_text(MAPPING)
        self.rows = [
            [f"{7 + n % 23}", f"{100 + n * 7 % 31}", "see" if n % 3 else "buy",
             f"2024-0{1 + n % 3}-{1 + n * 5 % 28:02} 1{n % 10}:00:{n % 60:02}",
             f"{n % 9}.5", f"{1 + n % 3}", f"{n // 4}"]
            for n in range(ROWS)
        ]  # fmt: skip
        write_log(self.plain / "log.csv", self.rows)
        assert command("read", "table", self.plain / "map.toml", "--out", self.plain / "shop") == 0
        users = np.arange(7, 30, dtype=np.int64)
        vectors = np.random.default_rng(0).normal(size=(23, 4)).astype(np.float16)
        Profiles(users, vectors).save(self.plain / "profiles")

    def copy(self, to: Path, *names: str) -> Path:
        to.mkdir(parents=True, exist_ok=True)
        for name in names:
            of = self.plain / name
            (shutil.copytree if of.is_dir() else shutil.copy2)(of, to / name)
        return to


def write_log(file: Path, rows: list[list[str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["user", "item", "kind", "time", "price", "quantity", "session"])
        writer.writerows(rows)


def command(*words: object) -> int:
    return main([str(w) for w in words])


def events_of(dataset: Path) -> Mapping[str, object]:
    found: Mapping[str, object] = json.loads((dataset / "manifest.json").read_text("utf-8"))
    return found


# -- the groups -------------------------------------------------------------------------------


def cells(world: World, here: Path, draw: random.Random) -> Case:
    """Cells that cannot be read: of an optional column missing, of a needed one counted."""
    world.copy(here, "map.toml")
    rows, column = [list(r) for r in world.rows], draw.choice([0, 2, 3, 4, 5])
    spoiled = draw.sample(range(ROWS), draw.choice([1, 2, 3, 40, ROWS]))
    bad = {0: "", 2: "\x1b]0;x", 3: "soon", 4: "a lot", 5: "many"}[column]
    for n in spoiled:
        rows[n][column] = bad
    write_log(here / "log.csv", rows)
    needed = column < 4
    too_many = needed and len(spoiled) > ROWS / 100

    def kept() -> str:
        wanted = ROWS - len(spoiled) * needed
        found = events_of(here / "out")["events"]
        return "" if found == wanted else f"{found} events, not {wanted}"

    return Case(
        lambda: command("read", "table", here / "map.toml", "--out", here / "out"),
        must="refuse" if too_many else "do",
        new=here / "out",
        kept=kept,
    )


STRANGE = ("user=7", "kind=0", "time=3", "shop[1]", "a*b", "a?b", "{a,b}", "a b", "Zürich",
           "'q'", '"', "a%20b", "**", "[!a]", "~", "$HOME", "-x", "a;b", "n\nl", "#",
           "item=1")  # fmt: skip


def paths(world: World, here: Path, draw: random.Random) -> Case:
    """A log below folders of strange names, beside others that a pattern would take for it."""
    names = [draw.choice(STRANGE) for _ in range(draw.randint(1, 3))]
    for decoy in ("shop1", "aXb", "a", "b", "zz"):
        world.copy(here / decoy, "map.toml", "log.csv")
    there = world.copy(here.joinpath(*names), "map.toml", "log.csv")

    def kept() -> str:
        found, wanted = events_of(there / "out"), events_of(world.plain / "shop")
        keys = ("events", "fingerprint")
        return ", ".join(f"{k} {found[k]}, not {wanted[k]}" for k in keys if found[k] != wanted[k])

    def run() -> int:
        code = command("read", "table", there / "map.toml", "--out", there / "out")
        return code or command("validate", there / "out")

    return Case(run, kept=kept, must="do")


def integrity(world: World, here: Path, draw: random.Random) -> Case:
    """A dataset of which a part is cut, changed, gone, another's or nobody's."""
    shop = world.copy(here, "shop") / "shop"
    files = sorted(
        p for p in shop.rglob("*") if p.is_file() and p.suffix in (".parquet", ".npy", ".json")
    )
    file = draw.choice(files)
    raw = bytearray(file.read_bytes())
    match draw.choice(["flip", "cut", "gone", "more", "other", "stray", "empty", "number"]):
        case "flip":
            at = draw.randrange(len(raw))
            raw[at] ^= 1 << draw.randrange(8)
            file.write_bytes(raw)
        case "cut":
            file.write_bytes(raw[: draw.randrange(len(raw))])
        case "gone":
            file.unlink()
        case "more":
            file.write_bytes(raw + draw.randbytes(draw.randint(1, 50)))
        case "other":
            file.write_bytes(draw.choice([f for f in files if f != file]).read_bytes())
        case "stray":
            file.with_name(f"x{file.name}").write_bytes(raw)
        case "empty":
            file.write_bytes(b"")
        case "number":
            text = (shop / "manifest.json").read_text()
            numbers = list(re.finditer(r"(?<=[ \[:])\d+(?=[,\s\]}])", text))
            one = draw.choice(numbers)
            new = draw.choice(["-1", "NaN", str(int(one[0]) + 1), "1e99", "9" * 5000, "[" * 20000])
            (shop / "manifest.json").write_text(text[: one.start()] + new + text[one.end() :])
    return Case(lambda: command("validate", shop), must="refuse")


def forms(world: World, here: Path, draw: random.Random) -> Case:
    """Profiles whose files are damaged or made to do harm."""
    folder = world.copy(here, "profiles") / "profiles"
    file = folder / draw.choice(["client_ids.npy", "embeddings.npy"])
    raw, must = bytearray(file.read_bytes()), "refuse"
    match draw.randrange(9):
        case 0:
            raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
            must = ""
        case 1:
            raw = raw[: draw.randrange(len(raw))]
        case 2:
            raw = bytearray(raw.replace(b"(23", draw.choice([b"(10000000000000", b"(-1", b"(24"])))
        case 3:
            raw = bytearray(raw.replace(b"}", b" "))
        case 4:
            raw = bytearray(raw.replace(b"'<", draw.choice([b"'|O", b"'|V2000000000 ", b"'<U9"])))
        case 5:
            raw = bytearray(raw.replace(b"{", b"(" * draw.choice([60, 5000])))
        case 6:
            raw += draw.randbytes(draw.randint(1, 9))
        case 7:
            file.unlink()
            file.mkdir()
            (file / "notes.txt").write_text("mine")
        case 8:
            np.save(file, np.array([[np.nan] * 4] * 23, np.float16)
                    if "emb" in file.name else np.zeros(23, np.int64))  # fmt: skip
            raw = bytearray(file.read_bytes())
    if file.is_file():
        file.write_bytes(raw)
    return Case(lambda: command("validate", folder), must=must)


def outputs(world: World, here: Path, draw: random.Random) -> Case:
    """An output onto what is there: a user's files, an input, a dataset, a folder, a link."""
    world.copy(here, "shop", "map.toml", "log.csv")
    for name in ("data/keep.csv", "model/weights.bin", "notes.txt", "manifest.json", "facts.json"):
        (here / "theirs" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "theirs" / name).write_text('{"mine": 1}')
    (here / "theirs" / ".x.part").write_text("mine")
    (here / "link").symlink_to(here / "theirs")
    (here / "nowhere").symlink_to(here / "not" / "there")
    out = draw.choice(["theirs", "theirs/notes.txt", "theirs/data", "theirs/manifest.json", "shop",
                       "shop/inside", "shop/manifest.json", "map.toml", "log.csv", "", ".", "..",
                       "link", "nowhere", "theirs/new", "new/deep", "theirs/../shop", "log.csv/x",
                       "shop/../theirs/notes.txt", "/dev/null/x", "x" * 300])  # fmt: skip
    words = draw.choice([
        ["audit", "shop", "--json"], ["audit", "shop", "--out"],
        ["export", "recbole", "shop", "--out"], ["export", "challenge", "shop", "--out"],
        ["read", "table", "map.toml", "--out"], ["read", "synthetic", "--set", "users=5",
        "days=40", "items=9", "categories=3", "--out"],
    ])  # fmt: skip
    words = [*words, out]
    if words[:2] == ["export", "recbole"] and draw.random() < 0.3:
        words += ["--name", draw.choice(["../../x", "/tmp/x", "", "a/b", ".", "..", "a\x00b"])]
    may: set[str] = set()
    if draw.random() < 0.3:
        words.append("--overwrite")
        target = os.path.normpath(out)
        if words[0] == "read" and target == "shop":
            may = {"shop"}
        if words[0] == "audit" and os.path.isfile(here / target) and target[:4] != "shop":
            may = {target}  # a file that was named, and that an audit does not read
    return Case(lambda: main(words), may_change=may)


NUMBERS = {"--horizon-days", "--shards", "--days", "--top", "--threads"}


def options(world: World, here: Path, draw: random.Random) -> Case:
    """Values that an option cannot have; nothing is written before they are refused."""
    world.copy(here, "shop")
    words, names = draw.choice([
        (["prepare", "shop", "--out", "out"],
         ["--horizon-days", "--shards", "--days", "--top", "--fields", "--threads", "--memory"]),
        (["audit", "shop", "--json", "out"], ["--split", "--profiles", "--threads", "--memory"]),
        (["export", "recbole", "shop", "--out", "out"],
         ["--split", "--roles", "--threads", "--memory"]),
        (["read", "synthetic", "--out", "out", "--set", "users=5", "days=40", "items=9",
          "categories=3", "--set"],
         ["seed=", "days=", "categories=", "=", "zzz=", "--threads", "--memory"]),
    ])  # fmt: skip
    name, value = draw.choice(names), draw.choice(WORDS)
    whole = re.fullmatch(r"[+-]?[0-9]{1,18}", value)
    if name.startswith("--"):
        words = [*(words[:-1] if words[-1] == "--set" else words), name, value]
    else:
        words = [*words, name + value]
    must = "refuse" if name in NUMBERS and not whole else ""
    return Case(lambda: main(words), must=must, new=here / "out")


VALUES = ("-1", "0", "1.5", "nan", "inf", "1e30", "9" * 30, '""', '"\\u001b[31m"', "[]", "{}",
          "[[]]", "true", "1979-05-27", '"../x"', '"a"', "[" * 5000, '"' + "x" * 9000 + '"',
          "-0.0", '["a", "a"]', "0x7fffffffffffffff", "[1, nan]", "{ a = 1 }", "=",
          "'\t'")  # fmt: skip


def recipes(world: World, here: Path, draw: random.Random) -> Case:
    """Recipes of the house with a line changed, gone, twice, or of something else."""
    kinds = {"": load_run, "ranking": load_rank, "scaling": load_scale, "next": load_next}
    kind = draw.choice(sorted(kinds))
    file = draw.choice(sorted((ROOT / "recipes" / kind).glob("*.toml")))
    lines = file.read_text("utf-8").splitlines()
    at = draw.choice([n for n, one in enumerate(lines) if one and not one.startswith("#")])
    key, equals, _ = lines[at].partition("=")
    match draw.randrange(8):
        case 0 | 1 | 2 | 3 if equals:
            lines[at] = f"{key}= {draw.choice(VALUES)}"
        case 4:
            del lines[at]
        case 5:
            lines.insert(at, lines[at])
        case 6:
            lines.insert(at, draw.choice(["zzz = 1", "[zzz]", "[a.'../x']", "\x00", '"" = 1']))
        case _:
            lines[at] = "".join(draw.sample(lines[at], len(lines[at])))
    (here / file.name).write_text("\n".join(lines), "utf-8")

    def run() -> int:
        kinds[kind](here / file.name)
        return 0

    return Case(run)


def texts(world: World, here: Path, draw: random.Random) -> Case:
    """Names and kinds that would move a terminal's cursor, and what a command says of them."""
    evil = draw.choice(["\x1b[2J", "\x1b]0;t\x07", "a\x08b", "\x9b31m", "\r", "\x7f", "\u202e",
                        "=1+1", "</script>"])  # fmt: skip
    name = json.dumps(evil)
    values = f"values = {{ {name} = {{ name = {name}, role = 'view' }}, buy = 'buy' }}\n"
    text = re.sub(r"values = .*\n", lambda _: values, MAPPING)
    if draw.random() < 0.3:
        text = f"name = {name}\n{text}"
    (here / "map.toml").write_text(text, "utf-8")
    rows = [[*r[:2], evil if r[2] == "see" else r[2], *r[3:]] for r in world.rows]
    write_log(here / "log.csv", rows)

    def run() -> int:
        code = command("read", "table", here / "map.toml", "--out", here / "out")
        code = code or command("validate", here / "out")
        return code or command("audit", here / "out") & 0  # 1 where it found something

    return Case(run, new=here / "out")


# How many cases of each, and how many of them in the suite.
# How many cases of each, and how many of them in the suite.
GROUPS: dict[str, tuple[Callable[[World, Path, random.Random], Case], int, int]] = {
    "texts": (texts, 50, 5), "options": (options, 230, 30), "recipes": (recipes, 330, 45),
    "outputs": (outputs, 210, 16), "forms": (forms, 250, 50), "integrity": (integrity, 250, 40),
    "paths": (paths, 90, 8), "cells": (cells, 90, 6),
}  # fmt: skip


# -- running ----------------------------------------------------------------------------------


@contextlib.contextmanager
def world() -> Iterator[World]:
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.environ |= {"CLICKPRINT_CACHE": f"{folder}/cache", "CLICKPRINT_THREADS": "1"}
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield World(Path(folder).resolve())
        finally:
            os.environ.clear()
            os.environ.update(before)


def contents(folder: Path) -> dict[str, str]:
    """What is there: files by digest, links by where they lead, folders by nothing."""
    return {
        str(p.relative_to(folder)): os.readlink(p)
        if p.is_symlink()
        else hashlib.md5(p.read_bytes()).hexdigest()
        if p.is_file()
        else ""
        for p in folder.rglob("*")
    }


def ended(of: World, group: str, number: int) -> Ended:
    """Run one case in a folder of its own, in this process."""
    make, *_ = GROUPS[group]
    here = of.folder / "case"
    here.mkdir()
    out, err, code, trace = io.StringIO(), io.StringIO(), -1, ""
    clock = threading.Timer(SECONDS, os.kill, (os.getpid(), signal.SIGINT))
    clock.daemon = True
    back = Path.cwd()
    try:
        case = make(of, here, random.Random(f"{group} {number}"))
        before = contents(here)
        os.chdir(here)
        start = monotonic()
        clock.start()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = int(str(case.run()))
            except ClickprintError as fault:
                code, trace = 1, ""
                err.write(str(fault))
            except BaseException:
                trace = traceback.format_exc()
        seconds = monotonic() - start
        clock.cancel()
        after = contents(here)
        lost = sorted(
            name
            for name, was in before.items()
            if after.get(name) != was
            and not any(Path(name).is_relative_to(m) for m in case.may_change)
        )
        return judged(case, code, out.getvalue(), err.getvalue(), trace, seconds, lost)
    finally:
        clock.cancel()
        os.chdir(back)
        shutil.rmtree(here, ignore_errors=True)


def judged(
    case: Case, code: int, out: str, err: str, trace: str, seconds: float, lost: list[str]
) -> Ended:
    said = err.strip()[-300:] or out.strip()[-300:]
    if seconds >= SECONDS:
        return Ended("hang", said)
    if trace or "Traceback (most recent call last)" in err or code not in (0, 1, 2):
        return Ended("traceback", trace[-900:] or f"code {code}: {said}")
    if lost:
        return Ended("silent loss", f"code {code}, changed or gone: {lost[:5]}")
    if CONTROL.search(out) or CONTROL.search(err.replace("\r", "")):
        return Ended("silent loss", f"control characters are printed: {(out + err)[-300:]!r}")
    if code:
        if not said:
            return Ended("traceback", f"code {code}, and nothing was said")
        if case.new is not None and os.path.lexists(case.new):
            return Ended("silent loss", f"refused, and yet there is {case.new.name}: {said}")
        return Ended("wrongly refused" if case.must == "do" else "refused", said)
    if case.must == "refuse":
        return Ended("wrongly accepted", said)
    what = case.kept()
    return Ended("silent loss" if what else "done", what)


def faults_of(of: World, group: str, numbers: range) -> tuple[Counter[str], list[str]]:
    """How the cases ended, and those that ended ill."""
    count: Counter[str] = Counter()
    ill = []
    for number in numbers:
        end = ended(of, group, number)
        count[end.how] += 1
        if end.how not in WELL:
            ill.append(f"{group} {number}: {end.how}: {end.what}")
    return count, ill


def page(counts: Mapping[str, Counter[str]]) -> str:
    columns = ["cases", "done", "refused", *FAULTS]
    rows = [
        [name, *(str(c.total() if column == "cases" else c[column]) for column in columns)]
        for name, c in [*counts.items(), ("all", sum(counts.values(), Counter()))]
    ]
    lines = [["group", *columns], ["---", *["---:"] * len(columns)], *rows]
    what = "\n".join(f"- **{n}**: {(f.__doc__ or '').strip()}" for n, (f, *_) in GROUPS.items())
    return f"""# Malformed inputs

`python tests/fuzz.py` (the same cases under `make slow`, {sum(few for *_, few in GROUPS.values())}
of them in the suite): cases drawn by seed, each in a folder of its own, whose files are compared
before and after.

{chr(10).join(f"| {' | '.join(one)} |" for one in lines)}

{what}

A case is *done* when all that was asked is there. It is *refused* when the exit code is 1 or 2,
something was said without a traceback, and nothing of what was there has changed. It *hangs* after
{SECONDS:.0f} seconds. Signals, full disks and killed processes have tests of their own.
"""


def say(*lines: object) -> None:
    sys.stderr.write("\n".join(str(one) for one in lines) + "\n")


if __name__ == "__main__":
    forks.import_all()  # no case is slower because it is the first
    with world() as shop:
        if len(sys.argv) == 3:
            say(ended(shop, sys.argv[1], int(sys.argv[2])))
            raise SystemExit
        found: dict[str, Counter[str]] = {}
        for name, (_make, many, _few) in GROUPS.items():
            found[name], ill = faults_of(shop, name, range(many))
            say(name, dict(found[name]), *ill)
    PAGE.write_text(page(found), "utf-8")
