"""Next purchase at one cutoff: candidates, their features, their order, and whom to show lists."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.files import whole
from clickprint.core.forms import read_json, reading
from clickprint.core.histories import Histories
from clickprint.core.lookup import among, positions
from clickprint.core.options import Between, Faults, NotEmpty, OneOf, check, plain, read
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import Ragged, starts_of
from clickprint.core.recommendations import Recommendations
from clickprint.core.recommender import Recommender, Recommends
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.seal import check_seal, seal
from clickprint.data.links import linked
from clickprint.data.split import LogPast
from clickprint.recommenders import RECOMMENDERS, recommender
from clickprint.recommenders.allocation import choose, expected
from clickprint.recommenders.baselines import Popularity
from clickprint.recommenders.blocks import asked
from clickprint.recommenders.features import FeatureSpec, FittedFeatures
from clickprint.recommenders.pairs import Bought, Pairs, match, union
from clickprint.recommenders.profiler import Profiler, profile_encoder
from clickprint.recommenders.propensity import FittedPropensity, Propensity
from clickprint.recommenders.ranker import FittedLambdaMART, LambdaMART
from clickprint.work.recipe import Name

FORMAT = 2  # 2: sealed
K = 60  # candidates of a retriever that does not say
PAIRS = 1 << 20  # pairs whose features are in memory at once
NO_PROFILES = Profiler({})
LINKED = "linked_"  # begins the names of features of all that a person did
POPULAR = Popularity(roles=(Role.BUY,), half_life=7.0)  # what fills lists that are too short
FILLER = "\0popular"

DEFAULT: Mapping[str, Mapping[str, Any]] = {
    "history": {"k": 150},
    "history-lately": {"retriever": "history", "half_life": 30, "k": 60},
    "repurchase": {"k": 60},
    "tifu-knn": {"k": 60},
    "up-cf": {"k": 60},
    "co-visits": {"k": 40},
    "popular": {"retriever": "popularity", "roles": ["buy"], "half_life": 7, "k": 40},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NextPurchase:
    """The `list_length` items that each of the `max_users` best users will buy in `days` days.

    - `retrievers`: any name → the options of a retriever, with `retriever`, a name of RECOMMENDERS
      (default: the name itself), and `k`, how many candidates it gives.
    - `features`, `ranker`, `propensity`: the options of each.
    - `profiles`: any name → the options of an encoder, with `encoder` (default: the name itself)
      and `components`, how many columns of its profiles the ranker sees.
    - `train_windows`, `stride_days`: how many windows of `days` days before the cutoff are trained
      on, and how many days lie between their starts (0: `days`).
    - `linked`: where the log says which users are one person, candidates are of all that the
      person did, and so are further features beside those of the user alone.
    """

    days: Annotated[int, Between(1, 36_500)] = 3
    list_length: Annotated[int, Between(1, 10_000)] = 25
    max_users: Annotated[int, Between(1, 1_000_000_000)] = 3_000
    retrievers: Annotated[Mapping[Name, Mapping[str, Any]], NotEmpty()] = field(
        default_factory=lambda: DEFAULT
    )
    features: FeatureSpec = field(default_factory=FeatureSpec)
    profiles: Mapping[Name, Mapping[str, Any]] = field(default_factory=dict)
    ranker: LambdaMART = field(default_factory=LambdaMART)
    propensity: Propensity = field(default_factory=Propensity)
    train_windows: Annotated[int, Between(1, 1_000)] = 6
    stride_days: Annotated[int, Between(0, 36_500)] = 0
    linked: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check(self, self._problems())

    def _problems(self) -> Iterator[tuple[str, str]]:
        faults = Faults()
        for name, options in self.retrievers.items():
            _retriever(name, options, faults)
        for name, options in self.profiles.items():
            profile_encoder(name, options, faults)
        yield from faults


def _retriever(
    name: str, options: Mapping[str, Any], faults: Faults
) -> tuple[Recommends, int] | None:
    path, of = f"retrievers.{name}", options.get("retriever", name)
    before = len(faults)
    k = faults.value(options.get("k", K), Annotated[int, Between(1, 100_000)], f"{path}.k")
    if not faults.known(of, RECOMMENDERS, f"{path}.retriever"):
        return None
    rest = {o: v for o, v in options.items() if o not in ("retriever", "k")}
    made = faults.attempt(path, lambda: recommender(of, **rest))
    return (made, k) if made is not None and len(faults) == before else None


def retrievers(recipe: NextPurchase) -> dict[str, tuple[Recommends, int]]:
    """name → (recipe, how many candidates of it)."""
    found = {n: _retriever(n, options, Faults()) for n, options in recipe.retrievers.items()}
    return {n: made for n, made in found.items() if made is not None}


@dataclass(frozen=True, slots=True)
class FittedRetrievers:
    """The retrievers of a recipe at a cutoff, and how many candidates of each.

    Where none of them is popularity the most popular items are candidates all the same, without
    columns, so that no list is empty.
    """

    parts: Mapping[str, tuple[Recommender, int]]

    @staticmethod
    def fit(
        past: Past, recipe: NextPurchase, *, rng: RNG, progress: Progress = silent
    ) -> "FittedRetrievers":
        made, found = retrievers(recipe), {}
        for n, (name, (retriever, k)) in enumerate(made.items()):
            progress("candidates", n, len(made))
            found[name] = retriever.fit(past, rng=rng.child(name)), k
        if not any(isinstance(retriever, Popularity) for retriever, _ in made.values()):
            found[FILLER] = POPULAR.fit(past, rng=rng), recipe.list_length
        return FittedRetrievers(found)

    def __call__(self, ask: Callable[[Recommender], Requests]) -> Pairs:
        """The union of all lists; `ask` makes the requests that a retriever reads."""
        pairs = union({n: part.recommend(ask(part), k) for n, (part, k) in self.parts.items()})
        columns = {n: c for n, c in pairs.columns.items() if not n.startswith(FILLER)}
        return Pairs(pairs.users, pairs.starts, pairs.items, columns)


def candidates(
    past: Past,
    recipe: NextPurchase,
    *,
    rng: RNG,
    users: Int64[np.ndarray, "B"] | None = None,
    progress: Progress = silent,
) -> Pairs:
    """The union of all retrievers for each of `past.users`, with each one's rank and score.

    - `users` (sorted, of `past.users`): only they have candidates; the retrievers learn from all.
      To train on a window those who bought in it are enough, and some retrievers cost by the user
      that they answer.

    With `recipe.linked` the retrievers answer for all that a user's person did; they learn from
    each user alone.
    """
    fitted = FittedRetrievers.fit(past, recipe, rng=rng, progress=progress)
    persons = _whole(past, recipe)
    pairs = fitted(lambda part: asked(persons, part, users))
    progress("candidates", len(recipe.retrievers), len(recipe.retrievers))
    return spread(pairs, past.users)


def most_popular(past: Past) -> Int64[np.ndarray, "V"]:
    """The items that fill lists, the most popular first."""
    fitted = POPULAR.fit(past, rng=RNG())
    nobody = Histories(np.zeros(1, np.int64), np.zeros(2, np.int64), {})
    return fitted.recommend(Requests(nobody), len(fitted.items)).items.ravel()


def spread(pairs: Pairs, users: Int64[np.ndarray, "U"]) -> Pairs:
    """The same pairs of more users (sorted), of whom the others have none."""
    lengths = np.zeros(len(users), np.int64)
    lengths[np.searchsorted(users, pairs.users)] = pairs.lengths
    return Pairs(users, starts_of(lengths), pairs.items, pairs.columns)


def profiler(
    past: Past, recipe: NextPurchase, *, rng: RNG, progress: Progress = silent
) -> Profiler:
    """The recipe's profiles, of a past that ends where the oldest training window starts."""
    return Profiler.fit(past, recipe.profiles, rng=rng, progress=progress)


def example(
    past: Past, recipe: NextPurchase, pairs: Pairs, profiles: Profiler = NO_PROFILES
) -> tuple[Pairs, dict[str, Float32[np.ndarray, "_"]]]:
    """The pairs with their features, and the columns of `past.users`.

    Memory is for all pairs: to train give those of buyers alone, and let `FittedNext.plan` make
    those of everybody a block at a time.
    """
    known = Snapshot.of(past, recipe, profiles)
    some = known.add(pairs.take(np.flatnonzero(pairs.lengths)))
    return spread(some, pairs.users), known.users()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What features are made of at a cutoff: the items', a past, and that of users' persons."""

    features: FittedFeatures
    past: Past
    whole: Past
    profiles: Mapping[str, Float32[np.ndarray, "_"]]

    @staticmethod
    def of(past: Past, recipe: NextPurchase, profiles: Profiler) -> "Snapshot":
        fitted = recipe.features.fit(past)
        return Snapshot(fitted, past, _whole(past, recipe), profiles.users(past))

    @property
    def linked(self) -> bool:
        return self.whole is not self.past

    def add(self, pairs: Pairs, histories: Histories | None = None) -> Pairs:
        """The pairs with the features of each user, of their person, and of their profile.

        `histories`: what the pairs' users did; None: as the past has it.
        """
        fields, users = self.features.fields, pairs.users
        own = self.past.histories(fields).of(users) if histories is None else histories
        found = self.features.add(own, pairs)
        if self.linked:
            alone = Pairs(users, found.starts, found.items)
            theirs = self.features.add(self.whole.histories(fields).of(users), alone)
            of_person = {
                f"{LINKED}{n}": c
                for n, c in theirs.columns.items()
                if n.startswith(("user_", "pair_"))
            }
            found = found.also(of_person)
        rows = positions(self.past.users, found.users)[found.rows]
        return found.also({n: c[rows] for n, c in self.profiles.items()})

    def users(self) -> dict[str, Float32[np.ndarray, "_"]]:
        """The columns of users alone, a row each of `past.users`."""
        found = self.features.users(self.past.histories(self.features.fields))
        if self.linked:
            theirs = self.features.users(self.whole.histories(self.features.fields))
            found |= {f"{LINKED}{n}": c for n, c in theirs.items()}
        return found | dict(self.profiles)


def _whole(past: Past, recipe: NextPurchase) -> Past:
    """The past, of persons if the recipe asks for them.

    Raises ConfigError where the log does not know them.
    """
    if not recipe.linked:
        return past
    if not isinstance(past, LogPast):
        raise ConfigError("linked: needs a log that says which users are one person")
    return linked(past)


Example = tuple[Pairs, Mapping[str, Float32[np.ndarray, "_"]], Bought]


def fit(
    recipe: NextPurchase,
    examples: Sequence[Example],
    *,
    rng: RNG,
    profiles: Profiler = NO_PROFILES,
    progress: Progress = silent,
) -> "FittedNext":
    """From what `example` made at earlier cutoffs, oldest first, and what was bought after each.

    Pairs of those who bought are enough, but every user must be among their users. Propensities
    are calibrated on the newest window with models trained on the others; the final models are
    then trained on all windows. A single window calibrates what it taught. Raises DataError.
    """
    labelled = [(p, b.of(p)) for p, _, b in examples]
    people = [(dict(c), np.isin(p.users, b.users)) for p, c, b in examples]
    early = slice(None, -1) if len(examples) > 1 else slice(None)
    progress("training", 0, 2)
    test, wanted, truth = labelled[-1][0], labelled[-1][1], examples[-1][2]
    scores = recipe.ranker.fit(labelled[early], rng=rng.child("ranker")).score(test)
    buyer = np.isin(test.users, truth.users)[test.rows]
    ranker = recipe.ranker.fit(labelled, rng=rng.child("ranker")).calibrated(
        scores[buyer], wanted[buyer]
    )
    progress("training", 1, 2)
    first = recipe.propensity.fit(people[early], rng=rng.child("chance")).calibrated(*people[-1])
    last = recipe.propensity.fit(people, rng=rng.child("chance"))
    progress("training", 2, 2)
    found = truth.found(test).mean() if len(truth.users) else 1.0
    propensity = replace(last, slope=first.slope, shift=first.shift)
    return FittedNext(recipe, ranker, propensity, max(float(found), 0.01), profiles)


@dataclass(frozen=True, slots=True)
class Plan:
    """Of each user the list, the propensity to buy, and the list's expected recall if they buy."""

    lists: Recommendations
    propensity: Float64[np.ndarray, "U"]
    expected: Float64[np.ndarray, "U"]

    def chosen(
        self, limit: int, by: Literal["product", "propensity"] = "product"
    ) -> Recommendations:
        """The lists of the `limit` best users by propensity × expected recall, or by the first."""
        rows = choose(self.propensity, self.expected if by == "product" else None, limit)
        return Recommendations(
            self.lists.users[rows], self.lists.items[rows], self.lists.scores[rows]
        )


@dataclass(frozen=True, slots=True)
class FittedNext:
    """The trained ranker and propensity; `found` is the share of purchases among candidates."""

    recipe: NextPurchase
    ranker: FittedLambdaMART
    propensity: FittedPropensity
    found: float
    profiles: Profiler = NO_PROFILES

    def recommend(self, pairs: Pairs, users: Mapping[str, Float32[np.ndarray, "_"]]) -> Plan:
        """For each of the pairs' users. Raises DataError."""
        scores = self.ranker.score(pairs, threads=self.recipe.ranker.threads)
        lists = pairs.top(scores, self.recipe.list_length)
        propensities = self.ranker.propensity(scores)
        size = np.bincount(pairs.rows, propensities, len(pairs.users)) / self.found
        return Plan(lists, self.propensity.of(users), expected(propensities, pairs, lists, size))

    def plan(self, past: Past, pairs: Pairs, *, progress: Progress = silent) -> Plan:
        """For each of `past.users`, from what `candidates` gave, a block of users at a time."""
        known = Snapshot.of(past, self.recipe, self.profiles)
        columns = known.users()
        parts: list[Plan] = []
        start = 0
        while start < len(pairs.users) or not parts:
            progress("lists", start, len(pairs.users))
            edge = pairs.starts[start] + PAIRS
            stop = int(np.searchsorted(pairs.starts, edge, side="right")) - 1
            stop = min(max(stop, start + 1), len(pairs.users))
            some = known.add(pairs.take(np.arange(start, stop)))
            parts.append(self.recommend(some, {n: c[start:stop] for n, c in columns.items()}))
            start = stop
        progress("lists", len(pairs.users), len(pairs.users))
        lists = Recommendations(
            pairs.users,
            np.concatenate([p.lists.items for p in parts]),
            np.concatenate([p.lists.scores for p in parts]),
        )
        propensity = np.concatenate([p.propensity for p in parts])
        return Plan(lists, propensity, np.concatenate([p.expected for p in parts]))

    def at(self, past: Past, *, rng: RNG) -> "NextRanker":
        """The ranker at a cutoff, where it can be asked for given candidates."""
        fitted = FittedRetrievers.fit(past, self.recipe, rng=rng)
        return NextRanker(self, fitted, Snapshot.of(past, self.recipe, self.profiles))

    def save(self, folder: Path) -> None:
        """A folder, whole or not at all."""
        with whole(Path(folder)) as part:
            part.mkdir(parents=True)
            self.ranker.save(part / "ranker")
            self.propensity.save(part / "propensity")
            self.profiles.save(part / "profiles")
            about = {"format": FORMAT, "found": self.found, "recipe": plain(self.recipe)}
            (part / "next.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
            seal(part)

    @staticmethod
    def load(folder: Path | str) -> "FittedNext":
        """What `save` wrote: the same plans. Raises DataError."""
        folder = Path(folder)
        again = "train it again"
        raw = read_json(folder / "next.json", again=again)
        check_seal(folder, again=again)
        with reading(folder / "next.json", again):
            told = read(_Told, raw)
        ranker, propensity = (
            FittedLambdaMART.load(folder / "ranker"),
            FittedPropensity.load(folder / "propensity"),
        )
        profiles = Profiler.load(folder / "profiles")
        return FittedNext(told.recipe, ranker, propensity, told.found, profiles)


@dataclass(frozen=True, slots=True)
class _Told:
    """What next.json says; see FittedNext."""

    format: Annotated[int, OneOf(FORMAT)]
    found: Annotated[float, Between(0, 1, low_open=True)]
    recipe: NextPurchase


@dataclass(frozen=True, slots=True)
class NextRanker:
    """The trained ranker at a cutoff: a core.recommender.Ranker of the past's users.

    Its features of a pair are the item's place in each retriever's list, what was known of the
    item at the cutoff, and what the request's history says. Persons and profiles are the past's.
    """

    fitted: FittedNext
    retrievers: FittedRetrievers
    known: Snapshot

    @property
    def fields(self) -> tuple[str, ...]:
        parts = [part.fields for part, _ in self.retrievers.parts.values()]
        return tuple(dict.fromkeys(n for p in (self.known.features.fields, *parts) for n in p))

    def rank(self, requests: Requests) -> Ragged:
        """A score for each candidate, −∞ for an item that was not known.

        Raises DataError without candidates, for one that stands twice, and for an unknown user.
        """
        if requests.candidates is None:
            raise DataError("requests", "found no candidates to rank")
        order = np.argsort(requests.users, kind="stable")
        some, given = requests.take(order), requests.candidates.take(order)
        by_item = np.lexsort((given.values, np.repeat(np.arange(len(given)), given.lengths)))
        pairs = Pairs(some.users, given.starts, given.values[by_item])
        if not among(self.known.past.users, some.users).all():
            raise DataError("requests", "some users are not those of the past")
        persons, linked = self.known.whole, self.known.linked
        found = self.retrievers(lambda part: asked(persons, part, some.users) if linked else some)
        at = match(found, pairs.rows, pairs.items)
        pairs = pairs.also({n: np.append(c, np.nan)[at] for n, c in found.columns.items()})
        pairs = self.known.add(pairs, some.histories)
        scores = np.full(len(by_item), -np.inf)
        known = among(self.known.features.items, given.values[by_item])
        threads = self.fitted.recipe.ranker.threads
        scores[by_item[known]] = self.fitted.ranker.score(pairs, threads=threads)
        return Ragged(given.starts, scores).take(np.argsort(order, kind="stable"))
