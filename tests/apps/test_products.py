"""What holds of every product's recipe and folder, once for all of them.

A product's own tests say what it makes. These say how it reads its recipe, which folders it
refuses, that a second call makes nothing, and that an interrupted one goes on to the same bytes.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from clickprint.apps.next.recipe import load as load_next
from clickprint.apps.next.run import Run
from clickprint.apps.prepare.stages import prepare
from clickprint.apps.rank.recipe import load as load_rank
from clickprint.apps.rank.stages import rank
from clickprint.apps.run.recipe import load as load_run
from clickprint.apps.run.stages import run
from clickprint.apps.scale.recipe import load as load_scale
from clickprint.apps.scale.stages import study
from clickprint.core.errors import ConfigError
from clickprint.core.files import foreign, own, write_text
from clickprint.core.options import OptionsError
from clickprint.core.progress import Progress, silent
from clickprint.data import synthetic
from clickprint.work.resources import Resources, Tables

pytestmark = pytest.mark.usefixtures("cache")

ONE = Resources(threads=1, accelerator="cpu")
SHOP = """source = "synthetic"
users = 200
items = 60
categories = 5
days = 40
rate = 1.5
"""
RANKING = """[ranking]
protocol = "leave-one-out"
ks = [1, 3]
metric = "ndcg@3"
"""
NETWORK = """[models.sasrec]
width = 4
history = { length = 5 }
training = { epochs = 2, batch = 64, patience = 1 }
"""
HEAD = 'name = "tiny"\n'
RUN = """[split]
horizon_days = 7
[profiles.counts]
top = 2
[profiles.random]
width = 4
[probes]
resamples = 2
"""
# What the marks of their folders say.
FOLDERS = {"run": "run", "rank": "ranking", "scale": "study", "next": "next purchase"}
# Files and folders that tell what a call cost.
COSTS = ("facts", "facts.json", "report.html", "prepared.json", ".lock")
TABLES = ("validation.", "scaling.")  # with a column of seconds


@dataclass(frozen=True)
class Product:
    """How a product is called.

    - `text`: a good recipe, its data in a table called `data`.
    - `load`, `make`: read its file, and do what it says in a folder.
    - `keeps`: whether its folder takes no other recipe.
    - `alone`: whether one process holds the folder as long as it works.
    """

    name: str
    text: str
    load: Callable[[Path], Any]
    make: Callable[[Any, Path, Progress], Any]
    data: str = "data"
    keeps: bool = False
    alone: bool = True
    seeds: str = ""

    def file(self, folder: Path, *changes: tuple[str, str]) -> Path:
        """Its recipe in a folder, with some texts replaced."""
        text = self.text
        for old, new in changes:
            assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
            text = text.replace(old, new)
        file = folder / "given.toml"
        file.write_text(text)
        return file


def make_next(recipe: Any, out: Path, progress: Progress) -> None:
    made = Run(recipe=recipe, out=out, resources=Tables(threads=1), progress=progress)
    for stage in ("read", "split", "candidates"):
        made.perform(stage)


PRODUCTS = (
    Product(
        "run",
        f"{HEAD}seed = 1\n[data]\n{SHOP}{RUN}",
        load_run,
        lambda recipe, out, told: run(recipe, out, resources=ONE, progress=told),
        keeps=True,
        seeds="seed = 1",
    ),
    Product(
        "rank",
        f"{HEAD}seeds = [1, 2]\n[data]\n{SHOP}{RANKING}{NETWORK}[models.popularity]\n",
        load_rank,
        lambda recipe, out, told: rank(recipe, out, resources=ONE, progress=told),
        alone=False,
        seeds="seeds = [1, 2]",
    ),
    Product(
        "scale",
        f"{HEAD}seeds = [1]\n[data]\n{SHOP}{RANKING}{NETWORK}[scaling]\nsizes = [1, 2]\n",
        load_scale,
        lambda recipe, out, told: study(recipe, out, resources=ONE, progress=told),
        keeps=True,
        seeds="seeds = [1]",
    ),
    Product(
        "next",
        f'log = "tiny"\nseed = 1\n[logs.tiny]\n{SHOP}[windows]\ntrain_windows = 2\n',
        load_next,
        make_next,
        data="logs.tiny",
        seeds="seed = 1",
    ),
)
each_product = pytest.mark.parametrize("product", PRODUCTS, ids=lambda p: p.name)
Make = Callable[[Path, Progress], Any]


def faults_of(product: Product, folder: Path, *changes: tuple[str, str]) -> dict[str, str]:
    file = product.file(folder, *changes)
    with pytest.raises(OptionsError) as caught:
        product.load(file)
    assert caught.value.where == str(file)
    return dict(caught.value.faults)


# -- recipes ----------------------------------------------------------------------------------


@each_product
def test_a_recipe_is_its_values_not_its_text(product: Product, tmp_path: Path) -> None:
    found = product.load(product.file(tmp_path))
    again = product.load(product.file(tmp_path, ("users = 200", "# who\nusers = 200")))
    assert found == again
    assert found.text != again.text
    other = product.load(product.file(tmp_path, ("users = 200", "users = 201")))
    assert other != found


@each_product
@pytest.mark.parametrize(
    ("change", "path", "word"),
    [
        (('source = "synthetic"', 'source = "synthetik"'), "DATA.source", "mean synthetic?"),
        (('source = "synthetic"', "source = 3"), "DATA.source", "a text"),
        (('source = "synthetic"', ""), "DATA", "source"),
        (("users = 200", "user = 200"), "DATA.user", "mean users?"),
        (("users = 200", 'users = "many"'), "DATA.users", "a whole number"),
        (("users = 200", "users = 0"), "DATA.users", "0"),
        (("days = 40", 'days = 40\npath = "x"'), "DATA.path", "reads no files"),
        (("rate = 1.5\n", "rate = 1.5\n[no.such]\n"), "no", "unknown"),
    ],
)
def test_a_fault_of_the_data_and_its_path(
    product: Product, change: tuple[str, str], path: str, word: str, tmp_path: Path
) -> None:
    found = faults_of(product, tmp_path, change)
    assert list(found) == [path.replace("DATA", product.data)]
    assert word in next(iter(found.values()))


@each_product
@pytest.mark.parametrize("wrong", ["-1", str(2**63), '"a"', "1.5"])
def test_seeds(product: Product, wrong: str, tmp_path: Path) -> None:
    key, _, value = product.seeds.partition(" = ")
    several = value.startswith("[")
    written = f"[{wrong}]" if several else wrong
    found = faults_of(product, tmp_path, (product.seeds, f"{key} = {written}"))
    assert list(found) == [f"{key}[0]" if several else key]
    for none in ("[]", "[1, 1]", "3") if several else ("[1]",):
        assert list(faults_of(product, tmp_path, (product.seeds, f"{key} = {none}"))) == [key]
    other = "seed" if several else "seeds"  # one dialect: never both
    found = faults_of(product, tmp_path, (product.seeds, f"{product.seeds}\n{other} = 1"))
    assert f"mean {key}?" in found[other]


@pytest.mark.parametrize("product", PRODUCTS[:3], ids=lambda p: p.name)
@pytest.mark.parametrize("wrong", ["a/b", "", ".a", "a" * 65])
def test_names(product: Product, wrong: str, tmp_path: Path) -> None:
    assert list(faults_of(product, tmp_path, ('"tiny"', f'"{wrong}"'))) == ["name"]
    assert "missing" in faults_of(product, tmp_path, (HEAD, ""))["name"]


@each_product
def test_all_faults_at_once(product: Product, tmp_path: Path) -> None:
    key = product.seeds.partition(" = ")[0]
    changes = [("users = 200", "usrs = 1"), ("days = 40", "days = []")]
    changes.append((product.seeds, f"{key} = []"))
    found = faults_of(product, tmp_path, *changes)
    assert set(found) == {f"{product.data}.usrs", f"{product.data}.days", key}


@each_product
def test_files_that_are_no_recipe(product: Product, tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    (tmp_path / "no.toml").write_text("[[[")
    for name, said in {
        "gone.toml": r"no such file.*recipes/",
        "latin.toml": "UTF-8",
        "no.toml": "not TOML",
        ".": "cannot be read",
    }.items():
        with pytest.raises(ConfigError, match=said) as caught:
            product.load(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


# -- folders ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("products") / "shop"
    synthetic.read(folder, users=200, items=60, categories=5, days=40, rate=1.5)
    return folder


@pytest.fixture(scope="module", params=[*(p.name for p in PRODUCTS), "prepare"])
def made(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    cache: Path,
    shop: Path,
) -> tuple[Make, Path]:
    """What makes a product in a folder, and one that it made."""
    make: Make
    if request.param == "prepare":
        make = lambda out, told: prepare(  # noqa: E731
            shop, out, horizon_days=7, top=2, resources=Tables(threads=1), progress=told
        )
    else:
        product = next(p for p in PRODUCTS if p.name == request.param)
        recipe = product.load(product.file(tmp_path_factory.mktemp("recipe")))
        make = partial(product.make, recipe)
    out = tmp_path_factory.mktemp(request.param) / "out"
    make(out, silent)
    return make, out


def contents(out: Path) -> dict[str, bytes]:
    """Every file but those that tell what it cost."""
    files = {p.relative_to(out): p for p in sorted(out.rglob("*")) if p.is_file()}
    return {
        name.as_posix(): file.read_bytes()
        for name, file in files.items()
        if not set(name.parts) & set(COSTS) and not name.name.startswith(TABLES)
    }


@pytest.mark.parametrize("inside", ["holiday.jpg", ".git"])
def test_a_folder_of_something_else_is_left_alone(
    made: tuple[Make, Path], inside: str, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / inside).write_text("us")
    with pytest.raises(ConfigError, match=inside):
        made[0](tmp_path / "out", silent)
    assert [p.name for p in (tmp_path / "out").iterdir()] == [inside]


def test_a_file_is_no_folder(made: tuple[Make, Path], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("us")
    with pytest.raises(ConfigError, match="is a file"):
        made[0](tmp_path / "out", silent)


def test_a_second_call_makes_nothing(made: tuple[Make, Path]) -> None:
    make, out = made
    before = {f: f.stat().st_mtime_ns for f in out.rglob("inputs.json")}
    files = contents(out)
    make(out, silent)
    assert before
    assert foreign(out) == []  # all that is written is noted
    assert {f: f.stat().st_mtime_ns for f in out.rglob("inputs.json")} == before
    assert contents(out) == files


class Stopped(Exception):
    """As a user interrupts."""


@pytest.mark.parametrize("at", [2, 23])
def test_an_interrupted_call_goes_on_to_the_same_bytes(
    made: tuple[Make, Path], at: int, tmp_path: Path
) -> None:
    make, out = made
    calls = 0

    def stops(stage: str, done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Stopped

    try:
        make(tmp_path / "out", stops)
    except Stopped:
        make(tmp_path / "out", silent)
    assert calls >= min(at, 7), "the product says too little of what it does"
    assert contents(tmp_path / "out") == contents(out)
    assert not list((tmp_path / "out").glob(".clickprint-spill*"))


@pytest.mark.parametrize("product", [p for p in PRODUCTS if p.keeps], ids=lambda p: p.name)
def test_another_recipe_is_refused(product: Product, tmp_path: Path) -> None:
    other = product.load(product.file(tmp_path, ("users = 200", "users = 201")))
    own(tmp_path / "out", FOLDERS[product.name])
    for text in (product.text, "name = 3"):
        write_text(tmp_path / "out" / "recipe.toml", text)
        with pytest.raises(ConfigError, match=r"another recipe.*--fresh"):
            product.make(other, tmp_path / "out", silent)
        assert (tmp_path / "out" / "recipe.toml").read_text() == text


@pytest.mark.parametrize("verb", [run, study])
def test_fresh_empties_a_folder_of_its_own(verb: Callable[..., Any], tmp_path: Path) -> None:
    product = next(p for p in PRODUCTS if p.make.__code__.co_names[0] == verb.__name__)
    recipe = product.load(product.file(tmp_path))
    own(tmp_path / "out", FOLDERS[product.name])
    for name in ("recipe.toml", "old.npy"):
        write_text(tmp_path / "out" / name, "name = 3")

    def stops(stage: str, done: int, total: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        verb(recipe, tmp_path / "out", fresh=True, resources=ONE, progress=stops)
    assert not (tmp_path / "out" / "old.npy").exists()
    assert (tmp_path / "out" / "recipe.toml").read_text() == product.text


@pytest.mark.parametrize("product", [p for p in PRODUCTS if p.alone], ids=lambda p: p.name)
def test_two_processes_do_not_write_one_folder(product: Product, tmp_path: Path) -> None:
    recipe, out = product.load(product.file(tmp_path)), tmp_path / "out"
    own(out, FOLDERS[product.name])
    program = (
        "import sys; from pathlib import Path; from clickprint.work.folder import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(out / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=rf"process {process.pid}\b"):
            product.make(recipe, out, silent)
        process.kill()
    assert sorted(p.name for p in out.iterdir()) == [".clickprint", ".lock"]
