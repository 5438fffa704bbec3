"""The auto-encoder: its contract, what it learns, when it stops, and what it refuses."""

from clickprint.encoders.autoencoder import AutoEncoder
from clickprint.encoders.sequence import HistorySpec
from clickprint.nn.train import Training
from clickprint.testing.encoders import EncoderContract

FIELDS = HistorySpec(length=32, everything=True, fields=("kind", "weekday", "gap"))
QUICK = Training(epochs=6, batch=32, lr=0.02)


class TestAutoEncoder(EncoderContract):
    encoder = AutoEncoder(width=16, history=FIELDS, training=QUICK, pieces=1)
    tolerance = 0.02  # float16 of sums in another order
    anonymous = False  # rows are shuffled by their place among the users
    learns = {"clockwork": 0.99, "checkerboard": 0.99}  # noqa: RUF012
