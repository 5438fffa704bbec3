"""From a past to profiles. An encoder is a frozen dataclass; ENCODERS says which name is whose."""

from pathlib import Path
from typing import Any

from clickprint.core.forms import read_json, reading
from clickprint.core.options import read
from clickprint.core.past import Encoder, Fitted
from clickprint.core.registry import lookup

ENCODERS: dict[str, str] = {
    "counts": "clickprint.encoders.counts:Counts",
    "decay": "clickprint.encoders.decay:Decay",
    "joined": "clickprint.encoders.joined:Joined",
    "saved": "clickprint.encoders.saved:Saved",
    "sasrec": "clickprint.encoders.sasrec:SASRec",
    "hstu": "clickprint.encoders.hstu:HSTU",
    "gru4rec": "clickprint.encoders.gru4rec:GRU4Rec",
    "mamba4rec": "clickprint.encoders.mamba4rec:Mamba4Rec",
    "transformer++": "clickprint.encoders.transformerpp:TransformerPP",
    "autoencoder": "clickprint.encoders.autoencoder:AutoEncoder",
    "contrastive": "clickprint.encoders.contrastive:Contrastive",
    "multitask": "clickprint.encoders.multitask:MultiTask",
    "als": "clickprint.encoders.als:ALS",
    "twhin": "clickprint.encoders.graph:TwHIN",
    "random": "clickprint.encoders.controls:Random",
    "constant": "clickprint.encoders.controls:Constant",
}


def encoder(name: str, **options: Any) -> Encoder:
    """The encoder of this name with these options, as Python or TOML have them.

    Raises ConfigError for an unknown name, and with every fault of the options.
    """
    made: Encoder = read(lookup(ENCODERS, name, "encoder"), options, where=name)
    return made


def load(folder: Path | str) -> Fitted:
    """The fitted encoder that `save` wrote into `folder`. Raises DataError."""
    path = Path(folder) / "fitted.json"
    again = "fit and save it again"
    raw = read_json(path, again=again)
    with reading(path, again):
        found = lookup(ENCODERS, str(raw["encoder"]), "encoder")
    fitted: Fitted = found.load(Path(folder))
    return fitted
