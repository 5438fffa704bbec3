"""Profiles that a recipe names: encoders with options, joined ones, each made once in a folder."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from clickprint.core.errors import Diverged
from clickprint.core.files import clear
from clickprint.core.options import Distinct, Faults, NotEmpty
from clickprint.core.past import Encoder, Fitted, Past
from clickprint.core.profiles import Profiles
from clickprint.core.progress import Progress, silent
from clickprint.core.registry import lookup
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.data import split  # noqa: F401  the past is made there: its code counts
from clickprint.encoders import ENCODERS, load
from clickprint.encoders.joined import Prefitted
from clickprint.work.facts import Facts
from clickprint.work.folder import TRAINING, Workspace, stamp

FITTED = "fitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePart:
    """An encoder and, where it joins profiles, the names of its blocks.

    In a recipe the encoder's options stand beside `encoder`, which is the profile's own name by
    default. A block is a profile of the recipe, or else an encoder with its defaults.
    """

    encoder: str
    config: Encoder
    blocks: tuple[str, ...] = ()

    @classmethod
    def read_options(cls, raw: Any, path: str, faults: Faults) -> "ProfilePart | None":
        if not isinstance(raw, Mapping):
            faults.add(path, f"found {raw!r}, expected a table [{path}]")
            return None
        options = dict(raw)
        name = options.pop("encoder", path.removeprefix("profiles."))
        if not faults.known(name, ENCODERS, f"{path}.encoder"):
            return None
        form = lookup(ENCODERS, name, "encoder")
        blocks = None
        if "blocks" in options and "blocks" in {f.name for f in fields(form)}:
            taken = Annotated[tuple[str, ...], NotEmpty(), Distinct()]
            blocks = faults.value(options.pop("blocks"), taken, f"{path}.blocks")
        config: Any = faults.read(form, options, path)
        return None if config is None else cls(encoder=name, config=config, blocks=blocks or ())


Parts = Mapping[str, ProfilePart]


def problems(parts: Parts) -> Iterator[tuple[str, str]]:
    """Blocks that nobody knows, and profiles that are a block of themselves, with their paths."""
    for name, part in parts.items():
        path = f"profiles.{name}.blocks"
        yield from unknown(path, part.blocks, {*parts, *ENCODERS} - {name})
        if name in inside(parts, name):
            yield path, "it is, through its blocks, a block of itself"


def unknown(path: str, names: Iterable[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """A problem for each name that is not among the known ones."""
    for name in names:
        if name not in known:
            yield path, f"{name!r} is unknown; known: {', '.join(sorted(known))}"


def own_blocks(parts: Parts, name: str) -> list[str]:
    """The blocks of a profile that are profiles of the recipe too."""
    return [b for b in parts[name].blocks if b in parts]


def inside(parts: Parts, name: str) -> list[str]:
    """Every profile that is a block of this one, through other blocks too."""
    found: list[str] = []
    waiting = own_blocks(parts, name)
    while waiting:
        block = waiting.pop()
        if block not in found:
            found.append(block)
            waiting += own_blocks(parts, block)
    return found


def blocks_first(parts: Parts, names: Iterable[str]) -> list[str]:
    """The profiles and all their blocks, each once, a block before what is joined of it."""
    ordered = (n for name in names for n in (*blocks_first(parts, own_blocks(parts, name)), name))
    return list(dict.fromkeys(ordered))


def encoder(parts: Parts, name: str, fitted: Mapping[str, Fitted] | None = None) -> Encoder:
    """The encoder of a profile; blocks among `fitted` are not fitted again."""
    part, known = parts[name], fitted or {}
    if not part.blocks:
        return part.config

    def block(name: str) -> Encoder:
        if name in known:
            return Prefitted(known[name])
        if name in parts:
            return encoder(parts, name)
        made: Encoder = lookup(ENCODERS, name, "encoder")()
        return made

    config: Any = part.config
    joined: Encoder = replace(config, blocks={b: block(b) for b in part.blocks})
    return joined


def made_of(parts: Parts, name: str) -> tuple[list[str], Any]:
    """The modules of a profile's encoders; and its options, blocks and the state of its files."""
    names = [name, *inside(parts, name)]
    used = [parts[n] for n in names]
    encoders = {p.encoder for p in used}
    encoders |= {b for p in used for b in p.blocks if b not in parts}
    values = [getattr(p.config, f.name) for p in used for f in fields(p.config)]  # type: ignore[arg-type]
    return sorted(ENCODERS[e] for e in encoders), [
        names,
        used,
        [stamp(v) for v in values if isinstance(v, Path)],
    ]


def make(
    folder: Path,
    encoder: Encoder,
    past: Past,
    *,
    rng: RNG,
    progress: Progress = silent,
    session: Session = ALONE,
) -> None:
    """Fit an encoder, and write its vectors and what was fitted into a folder."""
    fitted = encoder.fit(past, rng=rng, progress=progress, session=session)
    fitted.encode(past).save(folder)
    fitted.save(folder / FITTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeProfiles:
    """The profiles of a run folder: made where they are not there, and loaded once.

    `inputs`: the digest of what a profile is made from, as stages.Graph.digest gives it.
    """

    work: Workspace
    parts: Parts
    past: Past
    rng: RNG
    facts: Facts
    inputs: Callable[..., str]
    accelerator: str = "auto"
    progress: Progress = silent
    loaded: dict[str, Profiles] = field(default_factory=dict, init=False)

    def make(self, names: Iterable[str]) -> None:
        """Make profiles and their blocks; nothing is fitted twice."""
        for name in blocks_first(self.parts, names):
            roots, more = made_of(self.parts, name)
            place, inputs = f"profiles/{name}", self.inputs(roots=roots, more=more)
            if self.work.made(place) != inputs:
                with self.facts.stage(f"profiles {name}"):
                    self.work.make(place, inputs, partial(self._make, name, inputs))
        clear(self.work.path(TRAINING))

    def _make(self, name: str, inputs: str, folder: Path) -> None:
        self.progress(f"profiles {name}", 0, 1)
        fitted = {b: load(self.folder(b) / FITTED) for b in own_blocks(self.parts, name)}
        session = Session(checkpoints=self.work.training(inputs), accelerator=self.accelerator)
        try:
            make(
                folder,
                encoder(self.parts, name, fitted),
                self.past,
                rng=self.rng.child(name),
                progress=self.progress,
                session=session,
            )
        except Diverged as fault:
            raise Diverged(f"profiles.{name}: {fault}") from None
        self.progress(f"profiles {name}", 1, 1)

    def folder(self, name: str) -> Path:
        return self.work.path(f"profiles/{name}")

    def __getitem__(self, name: str) -> Profiles:
        if name not in self.loaded:
            self.loaded[name] = Profiles.load(self.folder(name))
        return self.loaded[name]
