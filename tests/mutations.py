"""Do the tests notice when a line is wrong? Mutants of modules, each against its module's tests.

python tests/mutations.py                 # a seeded sample of 800, and docs/results/mutations.md
python tests/mutations.py 100 --workers 2 # of 100, into the same page
python tests/mutations.py 40 metrics/ranking nn/blocks       # of these modules, page left as it is

A mutant is one small change in a function: a comparison, a sign, a number, a condition, a keyword
left out. Each runs in a fork of a process that has collected the tests, and is killed when one
fails, or when they take ten times as long. Verdicts are kept in build/mutations.jsonl
by the text of the module and of its tests, so that a run that was stopped goes on.
"""

import argparse
import ast
import contextlib
import gc
import hashlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType

import pytest
from _pytest.main import pytest_runtestloop as run_all

ROOT = Path(__file__).resolve().parent.parent
SOURCE, TESTS = ROOT / "src" / "clickprint", ROOT / "tests"
PAGE, KEPT = ROOT / "docs" / "results" / "mutations.md", ROOT / "build" / "mutations.jsonl"
OPTIONS = ["-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-o", "addopts=--strict-markers",
           "-m", "not slow and not golden and not spark and not dag"]  # fmt: skip
# Each module and the tests that have to notice.
MODULES: Mapping[str, str] = {
    "metrics/beyond_accuracy": "metrics/test_beyond_accuracy",
    "metrics/calibration": "metrics/test_calibration",
    "metrics/compare": "metrics/test_compare",
    "metrics/labels": "metrics/test_labels",
    "metrics/power_law": "metrics/test_power_law",
    "metrics/ranking": "metrics/test_ranking",
    "metrics/values": "metrics/test_values",
    "nn/blocks": "nn/test_blocks nn/test_formulas",
    "nn/costs": "nn/test_costs",
    "nn/losses": "nn/test_losses",
    "nn/mamba": "nn/test_blocks nn/test_formulas",
    "nn/masks": "nn/test_masks nn/test_blocks nn/test_spec_checks",
    "nn/next_item": "nn/test_next_item nn/test_wiring",
    "nn/positions": "nn/test_positions nn/test_formulas",
    "nn/train": "nn/test_train nn/test_wiring",
    "data/split": "data/test_split",
    "data/features": "data/test_features",
    "recommenders/allocation": "recommenders/test_allocation",
    "recommenders/comparison": "recommenders/test_comparison",
    "recommenders/evaluate": "recommenders/test_evaluate",
    "recommenders/funnel": "recommenders/test_funnel",
    "recommenders/gate": "recommenders/test_gate",
    "recommenders/pairs": "recommenders/test_pairs",
    "tasks/protocols": "tasks/test_protocols",
    "tasks/ranking": "tasks/test_ranked tasks/test_ranking_table",
    "tasks/ranking_table": "tasks/test_ranking_table",
}
# Survivors that no test can kill, `module: line: before → after`, and why.
REASONS: Mapping[str, str] = {
    "metrics/compare: flip = np.zeros(len(block), bool): np.zeros(len(block), bool)"
    " → np.ones(len(block), bool)": "each of them is set before it is read",
    'metrics/compare: low = np.percentile(made, tail, axis=-1, method="lower"): -1 → --1': (
        "of two axes the last is number 1"
    ),
    "nn/losses: logits = (F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T).float()"
    " / temperature: -1 → --1": "of two axes the last is number 1",
    "nn/losses: return torch.sparse_csr_tensor(starts, columns, values, size=size,"
    " check_invariants=False): torch.sparse_csr_tensor(starts, columns, values, size=size,"
    " check_invariants=False) → torch.sparse_csr_tensor(starts, columns, values, size=size)": (
        "nothing is checked without it, too; torch warns once"
    ),
}
SWAPPED: Mapping[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.And: ast.Or,
    ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum",
         "maximum": "minimum", "mean": "sum", "zeros": "ones", "floor": "ceil"}  # fmt: skip
# What is no behaviour: types, messages, and what a text says.
NOT_INTO = (ast.Raise, ast.Assert, ast.JoinedStr, ast.arguments)


@dataclass(frozen=True)
class Point:
    """Where a module can be changed; `change` does it in the tree that it was found in."""

    line: int
    node: ast.AST
    change: Callable[[], None]


def points(tree: ast.Module) -> list[Point]:
    """Those in functions: what is done once, at import, is not done again in a fork."""
    found: list[Point] = []
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        one = todo.pop(0)
        if isinstance(one, ast.FunctionDef):
            found += _points(one)
        elif isinstance(one, ast.ClassDef):
            todo = [*one.body, *todo]
    return found


def _points(node: ast.AST) -> Iterator[Point]:
    line = getattr(node, "lineno", 0)

    def at(change: Callable[[], None], what: ast.AST = node) -> Point:
        return Point(line, what, change)

    match node:
        case ast.Compare(ops=[op]) if type(op) in SWAPPED:
            yield at(lambda: node.ops.__setitem__(0, SWAPPED[type(op)]()))  # type: ignore[call-overload]
        case ast.BinOp(op=op) | ast.BoolOp(op=op) | ast.AugAssign(op=op) if type(op) in SWAPPED:
            yield at(lambda: setattr(node, "op", SWAPPED[type(op)]()))
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield at(lambda: setattr(node, "operand", ast.UnaryOp(node.op, operand)))
        case ast.Constant(value=bool(value)):
            yield at(lambda: setattr(node, "value", not value))
        case ast.Constant(value=int(value) | float(value)):
            yield at(lambda: setattr(node, "value", value + 1))
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield at(lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), test)))
        case ast.Call(func=ast.Name(id=name) as called) if name in NAMES:
            yield at(lambda: setattr(called, "id", NAMES[name]))
        case ast.Call(func=ast.Attribute(attr=name) as called) if name in NAMES:
            yield at(lambda: setattr(called, "attr", NAMES[name]))
    if isinstance(node, ast.Call):
        for one in node.keywords:
            if one.arg and isinstance(one.value, ast.Constant):
                yield at(lambda one=one: node.keywords.remove(one))  # type: ignore[misc]
    # No name of above: the changes still refer to them.
    for part, held in ast.iter_fields(node):
        if part in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for child in held if isinstance(held, list) else [held]:
            if isinstance(child, ast.AST) and not isinstance(child, NOT_INTO):
                yield from _points(child)


@dataclass(frozen=True)
class Mutant:
    module: str
    number: int
    line: int
    before: str
    after: str

    @property
    def text(self) -> str:
        line = (SOURCE / f"{self.module}.py").read_text("utf-8").splitlines()[self.line - 1]
        return f"{self.module}: {line.strip()}: {self.before} → {self.after}"


def mutant(module: str, number: int) -> tuple[Mutant, ast.Module]:
    tree = ast.parse((SOURCE / f"{module}.py").read_text("utf-8"))
    point = points(tree)[number]
    before = words(point.node)
    point.change()
    ast.fix_missing_locations(tree)
    return Mutant(module, number, point.line, before, words(point.node)), tree


def words(node: ast.AST) -> str:
    """What stands there, without what a condition leads to."""
    text = ast.unparse(node).split("\n")[0]
    return text if len(text) <= 90 else f"{text[:89]}…"


def install(module: str, tree: ast.Module) -> None:
    """Give the module's functions, wherever they are held, the code of the changed tree."""
    path = str(SOURCE / f"{module}.py")
    new = {(c.co_qualname, c.co_firstlineno): c for c in _codes(compile(tree, path, "exec"))}
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__.co_filename == path:
            code = new[one.__code__.co_qualname, one.__code__.co_firstlineno]
            if code.co_freevars == one.__code__.co_freevars:
                one.__code__ = code


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _codes(one)


class Tests:
    """A plugin: the tests of a module, collected once, run in a fork for each mutant."""

    def __init__(self, module: str, todo: list[int], workers: int) -> None:
        self.module, self.todo, self.workers = module, todo, workers
        self.found: dict[int, str] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        begin = time.monotonic()
        code = os.waitstatus_to_exitcode(os.waitpid(self.start(session, None), 0)[1])
        limit = 10 + 10 * (seconds := time.monotonic() - begin)
        say(f"{self.module}: {len(session.items)} tests take {seconds:.1f} s")
        if code or not session.items:
            raise SystemExit(f"{self.module}: its tests fail as it is")
        running: dict[int, tuple[int, float]] = {}
        todo = list(self.todo)
        while todo or running:
            while todo and len(running) < self.workers:
                pid = self.start(session, todo[-1])
                running[pid] = todo.pop(), time.monotonic() + limit
            for pid, (number, until) in list(running.items()):
                end = stopped(pid, until - time.monotonic())
                if end is not None:
                    del running[pid]
                    slow = end == -signal.SIGKILL
                    self.ended(number, "too slow" if slow else "killed" if end else "survived")
            time.sleep(0.02)
        return True

    def start(self, session: pytest.Session, number: int | None) -> int:
        if pid := os.fork():
            return pid
        try:
            os.setpgid(0, 0)
            null = os.open(os.devnull, os.O_RDWR)
            for handle in (0, 1, 2):
                os.dup2(null, handle)
            if number is not None:
                install(self.module, mutant(self.module, number)[1])
            session.config.option.maxfail = 1
            session.config.pluginmanager.unregister(name="terminalreporter")
            with contextlib.suppress(session.Failed):
                run_all(session)
            os._exit(session.testsfailed > 0)
        except BaseException:
            os._exit(99)

    def ended(self, number: int, verdict: str) -> None:
        self.found[number] = verdict
        KEPT.parent.mkdir(exist_ok=True)
        with KEPT.open("a", encoding="utf-8") as kept:
            kept.write(json.dumps([self.module, number, digest(self.module), verdict]) + "\n")
        if verdict == "survived":
            it = mutant(self.module, number)[0]
            say(f"survived: {it.module}:{it.line}: {it.before} → {it.after}")


def stopped(pid: int, seconds: float) -> int | None:
    """The exit code, None while it runs; one that takes too long is ended."""
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        return os.waitstatus_to_exitcode(status)
    if seconds > 0:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGKILL


def digest(module: str) -> str:
    files = [SOURCE / f"{module}.py", *(TESTS / f"{n}.py" for n in MODULES[module].split())]
    return hashlib.sha256(b"\0".join(f.read_bytes() for f in files)).hexdigest()[:16]


def verdicts(chosen: Sequence[tuple[str, int]], workers: int) -> dict[tuple[str, int], str]:
    """Of each mutant: killed, too slow, or survived."""
    known = {}
    if KEPT.is_file():
        for line in KEPT.read_text("utf-8").splitlines():
            module, number, of, verdict = json.loads(line)
            known[module, number, of] = verdict
    found: dict[tuple[str, int], str] = {}
    for module in sorted({m for m, _ in chosen}):
        numbers = [n for m, n in chosen if m == module]
        of = digest(module)
        found |= {(module, n): known[module, n, of] for n in numbers if (module, n, of) in known}
        todo = [n for n in numbers if (module, n) not in found]
        if todo:
            tests = Tests(module, todo, workers)
            files = [str(TESTS / f"{name}.py") for name in MODULES[module].split()]
            pytest.main([*files, *OPTIONS], plugins=[tests])
            found |= {(module, number): verdict for number, verdict in tests.found.items()}
    return found


def page(found: Mapping[tuple[str, int], str]) -> str:
    count: dict[str, Counter[str]] = {}
    for (module, _), verdict in found.items():
        count.setdefault(module, Counter())[verdict] += 1
    count = dict(sorted(count.items())) | {"all": sum(count.values(), Counter())}
    table = [
        f"| {module} | {c.total()} | {c['killed']} | {c['too slow']} | {c['survived']} |"
        f" {1 - c['survived'] / c.total():.0%} |"
        for module, c in count.items()
    ]
    left = [mutant(*one)[0] for one in sorted(found) if found[one] == "survived"]
    listed = [
        f"- `{m.module}.py:{m.line}`: `{m.before}` → `{m.after}`: "
        + REASONS.get(m.text, "no test sees it yet")
        for m in left
    ]
    return "\n".join([
        "# Mutants", "",
        "`python tests/mutations.py` (`make slow`): small changes of modules, drawn by seed, each "
        "against its module's tests.", "",
        "| module | mutants | killed | too slow | survived | noticed |",
        "|---|---:|---:|---:|---:|---:|", *table, "", "Survivors:", "", *listed, "",
    ])  # fmt: skip


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


def sampled(
    many: int, modules: Sequence[str] = (), workers: int = os.cpu_count() or 1
) -> dict[tuple[str, int], str]:
    """The verdicts of a seeded sample of all mutants."""
    everything = [
        (module, number)
        for module in modules or MODULES
        for number in range(len(points(ast.parse((SOURCE / f"{module}.py").read_text("utf-8")))))
    ]
    return verdicts(random.Random(0).sample(everything, min(many, len(everything))), workers)


def main() -> None:
    words = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    words.add_argument("sample", type=int, nargs="?", default=800)
    words.add_argument("modules", nargs="*")
    words.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = words.parse_args()
    sys.dont_write_bytecode = False
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    found = sampled(asked.sample, asked.modules, asked.workers)
    say(", ".join(f"{n} {verdict}" for verdict, n in Counter(found.values()).most_common()))
    if not asked.modules:
        PAGE.write_text(page(found), "utf-8")


if __name__ == "__main__":
    main()
