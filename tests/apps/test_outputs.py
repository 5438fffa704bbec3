"""No output destroys what is not ours, and none is written where it does not belong."""

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clickprint.apps.cli.main import main
from clickprint.apps.export import stages
from clickprint.core.files import foreign
from clickprint.core.profiles import Profiles

SHOP = "--threads 1 --set users=60 items=30 categories=5 days=45 rate=1.5"
RECIPE = (
    'name = "a"\n[data]\nfolder = "{shop}"\n[split]\nhorizon_days = 7\n'
    "[profiles.counts]\ntop = 2\n[profiles.random]\nwidth = 4\n[probes]\nresamples = 2\n"
)
RANK = (
    'name = "r"\n[data]\nfolder = "{shop}"\n[ranking]\nks = [5]\nmetric = "recall@5"\n'
    "[models.popularity]\n"
)
SCALE = RANK.replace("popularity", "sasrec") + "width = 4\n[scaling]\nsizes = [1, 2]\n"
NEXT = 'log = "shop"\n[logs.shop]\nfolder = "{shop}"\n'


def call(words: str, at: Path, capsys: pytest.CaptureFixture[str] | None = None) -> int:
    """A command in which AT, SHOP and so on are paths; no traceback whatever it ends with."""
    code = main([word.replace("@", f"{at}/") for word in words.split()])
    if capsys is not None and code:
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert str(at) in said.splitlines()[-1]  # the place is why
    return code


def tree(folder: Path) -> dict[str, bytes | None]:
    """All that is below a folder, with content, and links as they are."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, a run, an export, recipes. Tests must not change it: `place` copies it."""
    at = tmp_path_factory.mktemp("made")
    assert call(f"read synthetic --out @shop {SHOP}", at) == 0
    for name, text in {"run": RECIPE, "rank": RANK, "scale": SCALE, "next": NEXT}.items():
        (at / f"{name}.toml").write_text(text.format(shop=at / "shop"))
    assert call("run @run.toml --out @run --threads 1", at) == 0
    assert call("export recbole @shop --out @atomic --threads 1", at) == 0
    return at


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """The same, in a folder of its own, with a project of the user."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    for name in ("data/log.csv", "model/weights", "notes/a.md", "facts/a.json", "split/x"):
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text("of the user")
    for name in ("manifest.json", "prepared.json", "product_properties.parquet", ".lock"):
        (tmp_path / "project" / name).write_text("{}")
    shutil.copy(tmp_path / "run.toml", tmp_path / "project" / "recipe.toml")
    return tmp_path


TO_FOLDERS = [
    "read synthetic --set users=60",
    "export recbole @shop",
    "export challenge @shop",
    "prepare @shop",
    "run @run.toml",
    "run @run.toml --fresh",
    "rank @rank.toml",
    "scale @scale.toml --fresh",
    "next all --params @next.toml",
    "next evaluate --params @next.toml",
]


@pytest.mark.parametrize("command", TO_FOLDERS)
def test_a_folder_that_is_not_ours_stays_as_it_is(
    command: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, replaces = tree(place), command.startswith(("read", "export"))
    for out in ("project", "atomic", "shop/inside", "run.toml", "run.toml/a"):
        if out == "atomic" and command.startswith("export recbole"):
            continue  # it is one already
        for more in ("", " --overwrite") if replaces else ("",):
            assert call(f"{command} --out @{out}{more}", place, capsys) == 1
    assert tree(place) == before


@pytest.mark.parametrize("command", ["board @run --csv", "board @run --json", "board @run --html"])
@pytest.mark.parametrize("more", ["", " --overwrite"])
def test_a_file_is_no_folder_and_no_part_of_a_run(
    command: str, more: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "there").write_text("x")
    (place / "empty").mkdir()
    before = tree(place)
    places = ["shop", "run", "empty", "run/recipe.toml", "run/new", "shop/new", "there/below"]
    for out in [*places, *([] if more else ["there"])]:
        assert call(f"{command} @{out}{more}", place, capsys) == 1
    assert tree(place) == before
    assert call(f"{command} @there --overwrite", place, capsys) == 0
    assert (place / "there").read_text() != "x"
    assert tree(place).keys() == before.keys()


def test_an_audit_is_not_written_on_what_it_reads(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Profiles.load(place / "run" / "profiles" / "counts").save(place / "mine")
    before = tree(place)
    for words in (
        "--json @shop",
        "--json @shop/manifest.json --overwrite",
        "--profiles @mine --json @mine/client_ids.npy --overwrite",
        "--out @run.toml",
        "--out @shop --overwrite",
    ):
        assert call(f"audit @shop {words}", place, capsys) == 1
    assert tree(place) == before


def test_an_output_that_is_there_is_replaced_when_asked(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same again is up to date; another one needs --overwrite."""
    export, read = "export recbole @shop --out @atomic", f"read synthetic --out @new {SHOP}"
    before = (place / "atomic" / "atomic.inter").stat().st_mtime_ns
    assert call(export, place, capsys) == 0
    assert (place / "atomic" / "atomic.inter").stat().st_mtime_ns == before
    assert call(f"{export} --roles buy", place, capsys) == 1
    assert call(f"{export} --roles buy --overwrite", place, capsys) == 0
    assert call(read, place, capsys) == 0
    assert call(f"{read} seed=5", place, capsys) == 1
    assert call(f"{read} seed=5 --overwrite", place, capsys) == 0
    (place / "new" / "notes.txt").write_text("of the user")
    assert call(f"{read} seed=6 --overwrite", place, capsys) == 1
    assert (place / "new" / "notes.txt").read_text() == "of the user"


@pytest.mark.parametrize("name", ["facts.json", "report.html", "board.json", "profiles/counts"])
def test_a_folder_of_the_user_inside_a_run_stays(
    name: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(place / "run" / name) if (place / "run" / name).is_dir() else (
        place / "run" / name
    ).unlink()
    (place / "run" / name).mkdir()
    (place / "run" / name / "precious").write_text("x")
    assert call("run @run.toml --out @run --threads 1", place, capsys) == 1
    assert (place / "run" / name / "precious").read_text() == "x"


def test_fresh_removes_what_we_wrote_and_nothing_else(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foreign(place / "run") == []
    mine = {"notes.md", ".a.part", ".b.old", "profiles/counts.old/x", "profiles/.keep", "data/x"}
    for name in mine:
        (place / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "run" / name).write_text("of the user")
    recipe = (place / "run.toml").read_text().replace("top = 2", "top = 3")
    (place / "other.toml").write_text(recipe)
    assert call("run @other.toml --out @run --threads 1", place, capsys) == 1
    assert call("run @other.toml --out @run --threads 1 --fresh", place, capsys) == 0
    assert all((place / "run" / name).read_text() == "of the user" for name in mine)
    assert {n for n in foreign(place / "run") if (place / "run" / n).is_file()} <= mine


def test_prepare_writes_into_its_own_folder_only(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "out").mkdir()
    prepare = "prepare @shop --out @out --horizon-days 7 --threads 1"
    assert call(prepare, place, capsys) == 0
    assert foreign(place / "out") == []
    (place / "out" / "split" / "mine").write_text("x")
    assert call(prepare, place, capsys) == 0
    assert call(f"{prepare} --shards 2", place, capsys) == 1
    assert (place / "out" / "split" / "mine").read_text() == "x"


@pytest.mark.parametrize(
    "words",
    [
        "next all --out",
        "read synthetic --out",
        "board . --csv",
        "run a.toml --out",
        "next all --out=",
    ],
)
def test_an_empty_word_is_no_path(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), *([] if words.endswith("=") else [""])]) == 2
    assert "--" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/tmp/x", ".", "..", "a\nb", "a/b", "\x1b[31m"])
def test_the_name_of_an_export_is_the_name_of_a_file(
    name: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(place)
    words = ["export", "recbole", str(place / "shop"), "--out", str(place / "x"), "--name", name]
    assert main(words) == 1
    assert tree(place) == before
    assert "Traceback" not in capsys.readouterr().err


def test_a_link_to_another_disk_is_a_folder(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "disk").mkdir()
    (place / "link").symlink_to(place / "disk", target_is_directory=True)
    assert call("export recbole @shop --out @link", place, capsys) == 0
    assert (place / "link").is_symlink()
    assert (place / "disk" / "link.inter").is_file() or list((place / "disk").glob("*.inter"))


@pytest.fixture
def devnull_stays() -> Callable[[], bool]:
    before = os.stat(os.devnull)
    return lambda: os.stat(os.devnull).st_rdev == before.st_rdev


def test_a_device_is_no_file(
    place: Path, capsys: pytest.CaptureFixture[str], devnull_stays: Callable[[], bool]
) -> None:
    assert main(["board", str(place / "run"), "--csv", os.devnull, "--overwrite"]) == 1
    assert os.devnull in capsys.readouterr().err
    assert devnull_stays()


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file may be larger, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [1, 300, 2_000, 9_000])
def test_a_full_disk_is_told_and_the_next_call_goes_on(
    size: int, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(place)
    for command in (
        f"read synthetic --out @new {SHOP}",
        "export recbole @shop --out @export --threads 1",
        "export challenge @shop --out @challenge --threads 1 --horizon-days 7",
        "board @run --csv @board.csv",
        "audit @shop --json @audit.json --threads 1",
    ):
        with limited(size):
            code = main([word.replace("@", f"{place}/") for word in command.split()])
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert code in (0, 1)
        if code:
            assert os.strerror(errno.EFBIG) in said.splitlines()[-1]
            assert tree(place) == before
        more = "" if command.startswith(("read", "export")) else " --overwrite"
        assert call(command + more, place, capsys) == 0
        before = tree(place)


@pytest.mark.parametrize("size", [1, 300, 2_000, 9_000])
def test_a_full_disk_leaves_the_dataset_that_is_appended_to(
    size: int, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = "--threads 1 --set users=60 items=30 categories=5 days=5 rate=1.5 start=2023-01-01"
    before = tree(place / "shop")
    with limited(size):
        assert call(f"append @shop synthetic {later}", place) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert tree(place / "shop") == before
    assert call("validate @shop", place, capsys) == 0


def test_an_export_that_was_killed_at_its_end_is_up_to_date(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last rename, before anybody was told."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("clickprint.apps.export.stages._say", killed)
        with pytest.raises(KeyboardInterrupt):
            stages.recbole(place / "shop", place / "late")
    before = tree(place / "late")
    assert before
    assert call("export recbole @shop --out @late --threads 1", place, capsys) == 0
    assert tree(place / "late") == before
