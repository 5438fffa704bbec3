"""A run: its folder, that it goes on where it stopped, and what it refuses."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import clickprint
from clickprint.apps.run.recipe import Recipe, parse
from clickprint.apps.run.stages import FIRST, check_run, run
from clickprint.core.dataset import Dataset
from clickprint.core.errors import ClickprintError, ConfigError, DataError, Diverged
from clickprint.core.profiles import Profiles
from clickprint.core.rng import RNG
from clickprint.data.split import split
from clickprint.encoders.counts import Counts
from clickprint.tasks.board import Board, Without
from clickprint.work.boards import of_run, of_runs
from clickprint.work.resources import Resources
from clickprint.work.stages import code_digest, modules

TEXT = """
name = "tiny"
[data]
source = "synthetic"
users = 260
items = 160
categories = 8
days = 45
rate = 1.5
[split]
horizon_days = 7
[profiles.counts]
top = 2
[profiles.random]
width = 8
[profiles.joined]
blocks = ["counts", "random"]
[tasks]
sets = ["ubm25"]
hidden = 2
[probes]
ablation = "joined"
resamples = 3
"""
# One profile on the open tasks.
SMALL = TEXT.replace("hidden = 2", "").replace('ablation = "joined"', 'quick = ["random"]')

UBM25 = 'sets = ["ubm25"]'
SASREC = """[profiles.sasrec]
history = {{ length = 8 }}
training = {{ epochs = {} }}
[profiles.random]"""
SOURCE = TEXT[TEXT.index("source =") : TEXT.index("[split]")]


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return parse(TEXT)


@pytest.fixture(scope="module")
def shown() -> list[tuple[Board, Sequence[str]]]:
    return []


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    recipe: Recipe,
    shown: list[tuple[Board, Sequence[str]]],
) -> Path:
    return run(
        recipe,
        tmp_path_factory.mktemp("runs") / "tiny",
        show=lambda board, notes: shown.append((board, notes)),
    )


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without a report: seconds each, and told by other tests."""
    monkeypatch.setattr("clickprint.apps.run.stages._report", lambda *given: None)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but those that tell seconds: facts.json and the report."""
    files = {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
    for told in ("facts.json", "report.html", ".lock"):
        files.pop(told, None)
    return files


def nan(file: Path) -> None:
    np.save(file, np.full_like(np.load(file), np.nan))


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def test_the_folder(folder: Path, recipe: Recipe) -> None:
    there = {p.name for p in folder.iterdir()} - {".clickprint"}
    assert there == {
        "recipe.toml",
        "facts.json",
        "board.json",
        "board.csv",
        "report.html",
        "plots",
        "profiles",
        "scores",
        ".lock",
        "inputs.json",
    }
    assert {p.name for p in (folder / "profiles").iterdir()} == {"counts", "random", "joined"}
    profiles = Profiles.load(folder / "profiles" / "joined")
    assert profiles.blocks[0][0] == "counts"
    assert len(profiles.users) == json.loads((folder / "facts.json").read_text())["split"]["users"]
    assert (folder / "recipe.toml").read_text() == recipe.text
    assert (
        len(list((folder / "scores" / "quick" / "counts").glob("*.json"))) == 6 + 2 + 1
    )  # tasks, hidden ones, inputs.json
    assert not list(folder.rglob(".*.clickprint-*"))
    assert check_run(folder) == []


@pytest.mark.usefixtures("plain")
def test_a_run_further_back_is_one_of_a_shorter_log(tmp_path: Path) -> None:
    back = SMALL.replace("horizon_days = 7", "horizon_days = 7\nshift = 1").replace(
        'quick = ["random"]', 'quick = ["counts"]'
    )
    told = json.loads((run(parse(back), tmp_path / "back") / "facts.json").read_text())["split"]
    log = clickprint.read("synthetic", users=260, items=160, categories=8, days=45, rate=1.5)
    later = split(log, horizon_days=7)
    parts = split(log.before(later.train.start), horizon_days=7)
    assert (told["train"], told["valid"], told["users"]) == (
        str(parts.train),
        str(parts.valid),
        len(parts.past.users),
    )
    assert parts.valid.end <= later.train.start
    found, wanted = (
        Profiles.load(tmp_path / "back" / "profiles" / "counts"),
        Counts(top=2).fit(parts.past, rng=RNG()).encode(parts.past),
    )
    assert np.array_equal(found.users, wanted.users)
    assert np.array_equal(found.vectors, wanted.vectors)


@pytest.mark.usefixtures("plain")
def test_a_block_is_the_profile_of_that_name_and_fitted_once(tmp_path: Path) -> None:
    text = SMALL.replace("[profiles.random]", SASREC.format(1))
    text = text.replace('["counts", "random"]', '["counts", "sasrec"]').replace(
        'quick = ["random"]', 'quick = ["joined"]'
    )
    seen: list[str] = []
    run(parse(text), tmp_path / "run", progress=lambda stage, *_: seen.append(stage))
    assert (
        len(
            [
                s
                for s, before in zip(seen, ["", *seen], strict=False)
                if s == "train, epoch 1" != before
            ]
        )
        == 1
    )
    profiles = tmp_path / "run" / "profiles"
    assert {p.name for p in profiles.iterdir()} == {"joined", "counts", "sasrec"}
    weights = [
        next((profiles / name / "fitted").rglob("*.safetensors")) for name in ("sasrec", "joined")
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.usefixtures("plain")
def test_a_training_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    text = SMALL.replace("[profiles.random]", SASREC.format(3))
    learned = parse(text.replace('quick = ["random"]', 'quick = ["sasrec"]'))
    seen: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        seen.append(stage)
        if stage == "train, epoch 3":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(learned, tmp_path / "run", progress=progress)
    assert "train, epoch 1" in seen
    assert list((tmp_path / "run" / "training").rglob("progress.json"))
    seen.clear()
    run(learned, tmp_path / "run", progress=lambda stage, *_: seen.append(stage))
    assert [s for s in dict.fromkeys(seen) if s.startswith("train")] == ["train, epoch 3"]
    assert not (tmp_path / "run" / "training").exists()


def test_the_facts(folder: Path, cache: Path) -> None:
    facts = json.loads((folder / "facts.json").read_text())
    assert {"commit", "versions", "machine", "seed", "data", "split", "stages", "command"} <= set(
        facts
    )
    (dataset,) = (cache / "datasets").glob("synthetic-*/manifest.json")
    assert facts["data"]["fingerprint"] == Dataset.open(dataset.parent).manifest.fingerprint
    assert {"data", "profiles counts", "quick probe", "hidden tasks", "ablation", "report"} <= set(
        facts["stages"]
    )
    assert all(cost["seconds"] >= 0 and cost["peak_mib"] > 10 for cost in facts["stages"].values())
    assert facts["versions"]["numpy"] == np.__version__
    assert str(folder) not in json.dumps(facts)


def test_the_first_board_is_shown_before_hidden_tasks_and_ablation(
    shown: list[tuple[Board, Sequence[str]]], folder: Path
) -> None:
    (first, notes), (last, _) = shown
    assert (first.hidden, dict(first.ablation)) == ((), {})
    assert notes[0] == FIRST
    assert len(last.hidden) == 2
    assert list(last.ablation) == [Without("joined", "counts"), Without("joined", "random")]
    assert of_run(folder, "quick").rows() == last.rows()
    assert (last.reference, last.control) == ("counts", "random")
    assert last.counted == (
        "churn",
        "conversion",
        "propensity_category",
        "propensity_sku",
        "propensity_new_sku",
        "propensity_price",
    )


def test_again_nothing_is_made(folder: Path, recipe: Recipe) -> None:
    before = {
        p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.parent != folder
    }
    report = (folder / "report.html").stat().st_mtime_ns
    run(recipe, folder)
    assert {
        p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.parent != folder
    } == before
    assert (folder / "report.html").stat().st_mtime_ns == report


def test_what_is_lost_or_damaged_is_made_again_to_the_same_bytes(
    folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    whole = contents(folder)
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    shutil.rmtree(broken / "profiles" / "random")
    (broken / "scores" / "quick" / "counts" / "churn.npy").write_bytes(b"junk")
    (broken / "scores" / "quick" / "joined" / "inputs.json").write_text("{")
    (broken / "board.json").unlink()
    (broken / "facts.json").write_text("[]")
    (broken / "profiles" / ".counts.clickprint-part").mkdir()
    (broken / "scores" / "quick" / "counts" / ".churn.json.clickprint-part").write_text("half")
    run(recipe, broken)
    assert contents(broken) == whole


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("profiles/random/embeddings.npy", Path.unlink),
        ("profiles/counts/embeddings.npy", nan),
        ("profiles/joined/embeddings.npy", cut),
        ("profiles/counts/fitted", shutil.rmtree),
    ],
)
def test_a_file_that_is_gone_or_changed_is_made_again(
    file: str,
    damage: Callable[[Path], object],
    folder: Path,
    recipe: Recipe,
    tmp_path: Path,
) -> None:
    shutil.copytree(folder, tmp_path / "broken")
    damage(tmp_path / "broken" / file)
    run(recipe, tmp_path / "broken")
    assert contents(tmp_path / "broken") == contents(folder)


def test_a_training_that_diverges_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*given: object, **more: object) -> None:
        raise Diverged("the loss is nan; lower lr")

    monkeypatch.setattr("clickprint.work.profiles.make", diverges)
    with pytest.raises(ClickprintError, match=r"profiles\.random: .*\blr\b"):
        run(parse(SMALL), tmp_path / "out")


@pytest.mark.usefixtures("plain")
def test_another_seed_and_runs_on_one_board(folder: Path, tmp_path: Path) -> None:
    other = run(
        parse(SMALL.replace('name = "tiny"', 'name = "tiny"\nseed = 1')), tmp_path / "other"
    )
    name = "profiles/random/embeddings.npy"
    assert contents(other)[name] != contents(folder)[name]
    both = of_runs([folder, other], "quick")
    assert both.profiles == ("tiny/counts", "tiny/random", "tiny/joined", "other/random")
    assert both.score("tiny/random", "churn") == of_run(folder, "quick").score("random", "churn")
    assert both.score("other/random", "churn") != both.score("tiny/random", "churn")
    assert (both.reference, both.control, both.hidden) == ("tiny/counts", "tiny/random", ())


def test_other_code_makes_stale(
    folder: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other source of an encoder makes its profile stale, what joins it, and their scores."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)

    def edited(*roots: str) -> str:
        new = "clickprint.encoders.controls:Random" in roots
        return "new" if new else code_digest(*roots)

    monkeypatch.setattr("clickprint.work.stages.code_digest", edited)
    run(recipe, copy)
    stale = ("random", "joined", "joined without counts")
    for name in (*stale, "counts"):
        for made in (f"profiles/{name}/inputs.json", f"scores/quick/{name}/inputs.json"):
            if (folder / made).exists():
                old, new = (json.loads((f / made).read_text()) for f in (folder, copy))
                assert old.keys() == new.keys()
                assert bool(old.items() & new.items()) == (name not in stale)
    name = "profiles/random/embeddings.npy"
    assert contents(copy)[name] == contents(folder)[name]


@pytest.mark.parametrize(
    ("root", "inside", "outside"),
    [
        ("clickprint.work.profiles", "clickprint.encoders.joined", "clickprint.tasks.score"),
        ("clickprint.tasks.score", "clickprint.metrics.compare", "clickprint.encoders.joined"),
        ("clickprint.report.boards", "clickprint.report.board", "clickprint.encoders.joined"),
    ],
)
def test_a_stage_is_made_of_what_it_imports(root: str, inside: str, outside: str) -> None:
    found = modules(root)
    assert inside in found
    assert outside not in found


@pytest.mark.usefixtures("plain")
def test_a_dataset_folder_instead_of_a_source(folder: Path, cache: Path, tmp_path: Path) -> None:
    (manifest,) = (cache / "datasets").glob("synthetic-*/manifest.json")
    found = run(parse(SMALL.replace(SOURCE, f"folder = '{manifest.parent}'\n")), tmp_path / "run")
    assert of_run(found, "quick").score("random", "churn") == of_run(folder, "quick").score(
        "random", "churn"
    )


@pytest.mark.usefixtures("plain")
def test_tasks_of_ones_own_and_the_official_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The official probe at its own size, on one small question; a second call trains nothing."""
    (tmp_path / "my_tasks.py").write_text(
        "from dataclasses import replace\nfrom clickprint.tasks.examples import RETURNS\n"
        "TASKS = [RETURNS, replace(RETURNS, name='returns_twin')]\n"
    )
    monkeypatch.chdir(tmp_path)
    text = SMALL.replace('"ubm25"', '"my_tasks:TASKS"').replace(
        'quick = ["random"]', 'quick = ["random"]\nofficial = ["random"]'
    )
    boards: list[Board] = []
    recipe = parse(text.replace("users = 260", "users = 120"))
    found = Path(
        run(
            recipe,
            "mine",
            show=lambda board, _: boards.append(board),
            resources=Resources(accelerator="cpu", threads=1),
        )
    )
    assert [b.probe for b in boards] == ["quick", "official"]
    official = of_run(found, "official")
    assert official.tasks == ("returns_in_7_days", "returns_twin")
    scores = official.scores["random"]
    # Equal questions are one network: two would differ in nothing but minutes.
    assert scores["returns_in_7_days"].epochs == scores["returns_twin"].epochs
    assert len(scores["returns_twin"].epochs) == 3
    before = contents(found)
    monkeypatch.setattr(
        "clickprint.tasks.official.train", lambda *a, **k: pytest.fail("trained again")
    )
    run(recipe, "mine", resources=Resources(accelerator="cpu"))
    assert contents(found) == before
    with pytest.raises(ConfigError, match=r"no board.*official"):
        of_runs([found, found.parent], "official")


# -- refusals --------------------------------------------------------------------------------


@pytest.mark.usefixtures("plain")
def test_another_recipe_is_refused_and_fresh_empties(
    folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    other = parse(SMALL)
    with pytest.raises(ConfigError, match=r"another recipe.*--out.*--fresh"):
        run(other, copy)
    assert contents(copy) == contents(folder)
    run(other, copy, fresh=True)
    assert {p.name for p in (copy / "profiles").iterdir()} == {"random"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (("horizon_days = 7", "horizon_days = 30"), DataError, "nothing happened before"),
        ((UBM25, 'sets = ["no_such_module:TASKS"]'), ConfigError, "no_such_module:TASKS"),
        ((UBM25, 'sets = ["json:dumps_"]'), ConfigError, "json:dumps_"),
        ((UBM25, 'sets = ["json:__all__"]'), ConfigError, "json:__all__"),
        (
            (UBM25, 'sets = ["ubm25", "clickprint.tasks.ubm25:ubm25"]'),
            ConfigError,
            "'churn', 'conversion'",
        ),
        (
            (
                "[profiles.random]\nwidth = 8",
                "[profiles.random]\nencoder = 'saved'\nfolder = 'no'",
            ),
            DataError,
            "client_ids.npy",
        ),
        ((SOURCE, "folder = 'nowhere'\n"), DataError, "manifest.json"),
    ],
)
def test_what_only_the_data_can_refuse(
    change: tuple[str, str], error: type[Exception], message: str, tmp_path: Path
) -> None:
    text = SMALL.replace(*change)
    assert text != SMALL
    with pytest.raises(error) as fault:
        run(parse(text), tmp_path / "run")
    assert message in str(fault.value)
    assert not (tmp_path / "run" / "board.json").exists()
    assert not list((tmp_path / "run").rglob(".*.clickprint-part"))


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ("0", "expected 1 to"),
        ("x", "expected how many"),
        ("1,1", "expected how many"),
        ("", "expected"),
    ],
)
def test_devices_that_are_not_there(
    recipe: Recipe, devices: str, message: str, tmp_path: Path
) -> None:
    official = parse(SMALL + 'official = ["random"]')
    with pytest.raises(ConfigError, match="--devices") as fault:
        run(official, tmp_path / "run", devices=devices, resources=Resources(accelerator="cpu"))
    assert message in str(fault.value)
    assert not (tmp_path / "run").exists()  # told before anything is made


def test_check_run_tells_every_fault(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "recipe.toml").write_text("name = 3")
    np.save(copy / "profiles" / "counts" / "embeddings.npy", np.full((3, 2), np.nan, np.float16))
    (copy / "board.json").write_text("{}")
    (copy / "scores" / "quick" / "random" / "churn.json").write_text("{}")
    faults = "\n".join(check_run(copy))
    for part in (
        "name: found 3",
        "profiles/counts/embeddings.npy: found 6 NaN",
        "board.json",
        "churn.json",
    ):
        assert part in faults
    (copy / "board.json").unlink()
    assert check_run(copy)[-1] == "no board yet: the run is not finished"


def test_boards_that_are_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no board.*official.*quick"):
        of_run(folder, "official")
    with pytest.raises(ConfigError, match=r"make the run with"):
        of_run(tmp_path, "quick")
    with pytest.raises(ConfigError, match="two runs have one name"):
        of_runs([folder, folder], "quick")
    (tmp_path / "board.json").write_bytes(b"\xff")
    with pytest.raises(DataError, match="not UTF-8"):
        of_run(tmp_path, "quick")


def test_the_probes_threads_are_given_back() -> None:
    import torch

    from clickprint.work.probes import official

    before = torch.get_num_threads()
    assert list(official([], ["cpu"], resamples=2, threads=before + 1)) == []
    assert torch.get_num_threads() == before
