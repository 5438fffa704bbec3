"""Next purchase from end to end at one cutoff: candidates, their features, the order of each user's, and the worth of each user's place."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import whole
from clickprint.core.past import Past
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import starts_of
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.data.links import linked
from clickprint.data.split import LogPast
from clickprint.encoders import of_options
from clickprint.recommenders.allocation import choose, expected
from clickprint.recommenders.blocks import PastSubset
from clickprint.recommenders.features import Facts, FeatureSpec
from clickprint.recommenders.pairs import Bought, Pairs, Retriever, union
from clickprint.recommenders.profiler import Profiler, encoders
from clickprint.recommenders.propensity import Propensity, FittedPropensity
from clickprint.recommenders.ranker import FittedRanker, Ranker
from clickprint.recommenders.retrievers import SOURCES

K = 60  # candidates of a source that does not say
PAIRS = 1 << 20  # pairs whose features are in memory at once
NO_PROFILES = Profiler({})
LINKED = "linked_"  # what names of features begin with that are of all that a person did

DEFAULT: Mapping[str, Mapping[str, Any]] = {
    "own": {"k": 150},
    "own-lately": {"source": "own", "half_life": 30, "k": 60},
    "again": {"k": 60},
    "tifu-knn": {"k": 60},
    "up-cf": {"k": 60},
    "co-visits": {"k": 40},
    "popular": {"k": 40},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NextPurchase:
    """`products` items each for `users` users who buy within `days` days.

    `sources`: a name of SOURCES, or any name whose options say `source`, → its options and `k`. `profiles`: a name of ENCODERS, or any
    name whose options say `encoder`, → its options and `width`, as how many columns the ranker sees its profiles. Learned from `windows`
    windows of `days` days before the cutoff, which start `apart` days one before the other (0: `days`). `linked`: where the log says which
    users are one person, candidates are of all that the person did, and so are further features, beside those of the user alone.
    """

    days: int = 3
    products: int = 25
    users: int = 3_000
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: DEFAULT)
    features: FeatureSpec = field(default_factory=FeatureSpec)
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ranker: Ranker = field(default_factory=Ranker)
    propensity: Propensity = field(default_factory=Propensity)
    windows: int = 6
    apart: int = 0
    linked: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        faults = [
            f"{n}: found {getattr(self, n)}, expected at least 1"
            for n in ("days", "products", "users", "windows")
            if getattr(self, n) < 1
        ]
        faults += (
            [] if self.apart >= 0 else [f"apart: found {self.apart}, expected 0 or more days"]
        )
        faults += [] if self.sources else ["sources: found none, expected at least one"]
        for name in self.sources:
            try:
                _source(name, self.sources[name])
            except ConfigError as fault:
                faults.append(str(fault))
        for name in self.profiles:
            try:
                encoders({name: self.profiles[name]})
            except ConfigError as fault:
                faults.append(str(fault))
        if faults:
            raise ConfigError("; ".join(faults))


def retrievers(recipe: NextPurchase) -> dict[str, tuple[Retriever, int]]:
    """name → (source, how many candidates of it)."""
    return {n: _source(n, options) for n, options in recipe.sources.items()}


def candidates(
    past: Past,
    recipe: NextPurchase,
    *,
    rng: RNG,
    users: Int64[np.ndarray, "B"] | None = None,
    progress: Progress = silent,
) -> Pairs:
    """The union of all sources for each of `past.users`, with each source's rank and score; only items known at the cutoff.

    With `users` (sorted, of `past.users`) for these only: the sources learn from all, and every other user has no candidate. To learn
    from a window those who bought in it are enough, and some sources cost by the user that they answer.

    With `recipe.linked` the sources answer for all that a user's person did; they learn from each user by himself.

    Where no source is `popular` the most popular items are among them all the same, without columns, so that no list is empty.
    """
    asked = retrievers(recipe)
    whole = _whole(past, recipe)
    some = whole if users is None else PastSubset(whole, users)
    found: dict[str, Recommendations] = {}
    for n, (name, (source, k)) in enumerate(asked.items()):
        progress("candidates", n, len(asked))
        found[name] = source.fit(past, rng=rng.child(name)).retrieve(some, k)
    if "popular" not in (options.get("source", n) for n, options in recipe.sources.items()):
        popular, _ = _source("popular", {})
        found["\0popular"] = popular.fit(past, rng=rng).retrieve(some, recipe.products)
    pairs = union(found)
    progress("candidates", len(asked), len(asked))
    return spread(
        Pairs(
            pairs.users,
            pairs.starts,
            pairs.items,
            {n: c for n, c in pairs.columns.items() if n[0] != "\0"},
        ),
        past.users,
    )


def spread(pairs: Pairs, users: Int64[np.ndarray, "U"]) -> Pairs:
    """The same pairs of more users (sorted), of whom the others have none."""
    lengths = np.zeros(len(users), np.int64)
    lengths[np.searchsorted(users, pairs.users)] = pairs.lengths
    return Pairs(users, starts_of(lengths), pairs.items, pairs.columns)


def profiler(
    past: Past, recipe: NextPurchase, *, rng: RNG, progress: Progress = silent
) -> Profiler:
    """The recipe's profiles, fitted to a past that ends where the oldest window that is learned from starts."""
    return Profiler.fit(past, recipe.profiles, rng=rng, progress=progress)


def example(
    past: Past, recipe: NextPurchase, pairs: Pairs, profiles: Profiler = NO_PROFILES
) -> tuple[Pairs, dict[str, Float32[np.ndarray, "_"]]]:
    """The pairs with their features, and the columns of `past.users`.

    Memory is for all pairs: to learn from give those of buyers alone, and let `FittedNext.advise` make those of everybody a block at a
    time.
    """
    facts, more, whole = (
        Facts.of(past, recipe.features),
        profiles.users(past),
        _whole(past, recipe),
    )
    some = _added(facts, past, whole, pairs.take(np.flatnonzero(pairs.lengths)))
    some = some.also(
        {n: c[np.searchsorted(past.users, some.users)][some.rows] for n, c in more.items()}
    )
    return spread(some, pairs.users), {**_of_users(facts, past, whole), **more}


def _whole(past: Past, recipe: NextPurchase) -> Past:
    """The past, of persons if the recipe asks for them. Raises ConfigError where the log does not know them."""
    if not recipe.linked:
        return past
    if not isinstance(past, LogPast):
        raise ConfigError("linked: needs a log that says which users are one person")
    return linked(past)


def _added(facts: Facts, past: Past, whole: Past, pairs: Pairs) -> Pairs:
    """The pairs with the features of each user, and with those of his person."""
    found = facts.add(past, pairs)
    if whole is past:
        return found
    theirs = facts.add(whole, Pairs(found.users, found.starts, found.items)).columns
    return found.also(
        {f"{LINKED}{n}": c for n, c in theirs.items() if n.startswith(("user_", "pair_"))}
    )


def _of_users(facts: Facts, past: Past, whole: Past) -> dict[str, Float32[np.ndarray, "_"]]:
    found = facts.users(past)
    return (
        found
        if whole is past
        else found | {f"{LINKED}{n}": c for n, c in facts.users(whole).items()}
    )


def of_buyers(pairs: Pairs, bought: Bought) -> Pairs:
    """The pairs of those who bought; every user stays. The others teach the ranker nothing."""
    return pairs.where(np.isin(pairs.users, bought.users)[pairs.rows])


Example = tuple[Pairs, Mapping[str, Float32[np.ndarray, "_"]], Bought]


def fit(
    recipe: NextPurchase,
    examples: Sequence[Example],
    *,
    rng: RNG,
    profiles: Profiler = NO_PROFILES,
    progress: Progress = silent,
) -> "FittedNext":
    """From what `example` made at earlier cutoffs, oldest first, and what was bought after each. Pairs of those who bought are enough, but
    every user must be among their users. The curves of the chances are of the newest window, by models that did not see it; the models are
    then fitted to all. With one window only, that window calibrates what it taught. Raises DataError.
    """
    labelled = [(p, b.of(p)) for p, _, b in examples]
    people = [(dict(c), np.isin(p.users, b.users)) for p, c, b in examples]
    early = slice(None, -1) if len(examples) > 1 else slice(None)
    progress("training", 0, 2)
    test, wanted, truth = labelled[-1][0], labelled[-1][1], examples[-1][2]
    scores = recipe.ranker.fit(labelled[early], rng=rng.child("ranker")).score(test)
    buyer = np.isin(test.users, truth.users)[test.rows]
    steps = recipe.ranker.fit(labelled, rng=rng.child("ranker")).calibrated(
        scores[buyer], wanted[buyer]
    )
    progress("training", 1, 2)
    first = recipe.propensity.fit(people[early], rng=rng.child("chance")).calibrated(*people[-1])
    last = recipe.propensity.fit(people, rng=rng.child("chance"))
    progress("training", 2, 2)
    found = truth.found(test).mean() if len(truth.users) else 1.0
    propensity = FittedPropensity(last.names, last.model, first.slope, first.shift, last.recipe)
    return FittedNext(recipe, steps, propensity, max(float(found), 0.01), profiles)


@dataclass(frozen=True, slots=True)
class Plan:
    """For each user, in order: the list, the chance that he buys, and the recall that his list would have if he does."""

    lists: Recommendations
    propensity: Float64[np.ndarray, "U"]
    expected: Float64[np.ndarray, "U"]

    def chosen(
        self, limit: int, by: Literal["product", "propensity"] = "product"
    ) -> Recommendations:
        """The lists of the `limit` users whose place is worth most, best first."""
        if by not in ("product", "propensity"):
            raise ConfigError(f"by: found {by!r}, expected 'product' or 'propensity'")
        rows = choose(self.propensity, self.expected if by == "product" else None, limit)
        return Recommendations(
            self.lists.users[rows], self.lists.items[rows], self.lists.scores[rows]
        )


@dataclass(frozen=True, slots=True)
class FittedNext:
    """What was learned: the order of candidates and their chances, the chance of a user, and the share of what is bought that is among
    the candidates.
    """

    recipe: NextPurchase
    ranker: FittedRanker
    propensity: FittedPropensity
    found: float
    profiles: Profiler = NO_PROFILES

    def recommend(self, pairs: Pairs, users: Mapping[str, Float32[np.ndarray, "_"]]) -> Plan:
        """For each of the pairs' users. Raises DataError."""
        scores = self.ranker.score(pairs, threads=self.recipe.ranker.threads)
        lists = pairs.top(scores, self.recipe.products)
        propensities = self.ranker.propensity(scores)
        size = np.bincount(pairs.rows, propensities, len(pairs.users)) / self.found
        return Plan(lists, self.propensity.of(users), expected(propensities, pairs, lists, size))

    def plan(self, past: Past, pairs: Pairs, *, progress: Progress = silent) -> Plan:
        """For each of `past.users`, from candidates as `candidates` gives them; their features are made for some users at a time."""
        facts = Facts.of(past, self.recipe.features)
        more, whole = self.profiles.users(past), _whole(past, self.recipe)
        columns = {**_of_users(facts, past, whole), **more}
        parts: list[Plan] = []
        start = 0
        while start < len(pairs.users) or not parts:
            progress("lists", start, len(pairs.users))
            stop = (
                int(np.searchsorted(pairs.starts, pairs.starts[start] + PAIRS, side="right")) - 1
            )
            stop = min(max(stop, start + 1), len(pairs.users))
            some = _added(facts, past, whole, pairs.take(np.arange(start, stop)))
            some = some.also({n: c[start:stop][some.rows] for n, c in more.items()})
            parts.append(self.recommend(some, {n: c[start:stop] for n, c in columns.items()}))
            start = stop
        progress("lists", len(pairs.users), len(pairs.users))
        return Plan(
            Recommendations(
                pairs.users,
                np.concatenate([p.lists.items for p in parts]),
                np.concatenate([p.lists.scores for p in parts]),
            ),
            np.concatenate([p.propensity for p in parts]),
            np.concatenate([p.expected for p in parts]),
        )

    def save(self, folder: Path) -> None:
        """A folder, whole or not at all."""
        with whole(Path(folder)) as part:
            part.mkdir(parents=True)
            self.ranker.save(part / "ranker")
            self.propensity.save(part / "propensity")
            self.profiles.save(part / "profiles")
            about = {"format": 1, "found": self.found, "recipe": asdict(self.recipe)}
            (part / "next.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")

    @staticmethod
    def load(folder: Path | str) -> "FittedNext":
        """What `save` wrote: the same advice. Raises DataError."""
        folder = Path(folder)
        try:
            about = json.loads((folder / "next.json").read_text("utf-8"))
            if about["format"] != 1:
                raise ValueError(f"format {about['format']}, expected 1")
            recipe, found = of_options(NextPurchase, about["recipe"]), float(about["found"])
        except (OSError, ValueError, KeyError, TypeError, ConfigError) as fault:
            raise DataError(
                str(folder), [f"no model of next purchases ({fault!r}); train it again"]
            ) from None
        ranker, propensity = (
            FittedRanker.load(folder / "ranker"),
            FittedPropensity.load(folder / "propensity"),
        )
        return FittedNext(recipe, ranker, propensity, found, Profiler.load(folder / "profiles"))


def _source(name: str, options: Mapping[str, Any]) -> tuple[Retriever, int]:
    """A source and its k. Raises ConfigError."""
    kind, k = options.get("source", name), options.get("k", K)
    if kind not in SOURCES:
        raise ConfigError(
            f"sources.{name}: found no source {kind!r}, expected one of {', '.join(sorted(SOURCES))}"
        )
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise ConfigError(f"sources.{name}.k: found {k!r}, expected a whole number above 0")
    module, _, attribute = SOURCES[kind].partition(":")
    try:
        made: Retriever = of_options(
            getattr(import_module(module), attribute),
            {o: v for o, v in options.items() if o not in ("source", "k")},
        )
    except ConfigError as fault:
        raise ConfigError(f"sources.{name}: {fault}") from None
    return made, k
