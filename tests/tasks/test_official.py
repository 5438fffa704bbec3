"""The probe against a plain PyTorch twin: the same first weights, the same losses, the same
predictions; and what it refuses.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clickprint.core.errors import ConfigError, DataError
from clickprint.nn.device import device
from clickprint.tasks import official
from clickprint.tasks.official import Shape
from clickprint.tasks.task import Loss, bce, mse

SMALL = Shape(width=16, inner=24, layers=3)


class Plain(nn.Module):
    """The protocol's sentence, written down once more with PyTorch's own layers, in the order that
    it names.
    """

    def __init__(self, columns: int, labels: int, width: int, inner: int) -> None:
        super().__init__()
        self.input = nn.Linear(columns, width)
        self.input_norm = nn.LayerNorm(width)
        self.norm1, self.norm2, self.norm3 = (
            nn.LayerNorm(width),
            nn.LayerNorm(width),
            nn.LayerNorm(width),
        )
        self.wide1, self.thin1 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.wide2, self.thin2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.wide3, self.thin3 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.output_norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.input_norm(self.input(x))
        x = x + self.thin1(nn.functional.gelu(self.wide1(self.norm1(x))))
        x = x + self.thin2(nn.functional.gelu(self.wide2(self.norm2(x))))
        x = x + self.thin3(nn.functional.gelu(self.wide3(self.norm3(x))))
        return self.output(self.output_norm(x))


def slow(
    vectors: np.ndarray, target: np.ndarray, loss: Loss, epochs: int, batch: int
) -> tuple[list[float], list[np.ndarray]]:
    """The organisers' way: a DataLoader, the plain AdamW, predictions batch by batch.

    Losses of all steps, predictions of all epochs.
    """
    torch.manual_seed(1278)
    model = Plain(vectors.shape[1], target.shape[1], SMALL.width, SMALL.inner)
    optimise = torch.optim.AdamW(model.parameters(), lr=0.001, fused=False, foreach=False)
    measure = nn.BCEWithLogitsLoss() if loss is bce else nn.MSELoss()
    data = DataLoader(
        TensorDataset(
            torch.tensor(vectors.astype(np.float32)), torch.tensor(target.astype(np.float32))
        ),
        batch_size=batch,
    )
    losses, predictions = [], []
    for _ in range(epochs):
        for x, y in data:
            optimise.zero_grad()
            error = measure(model(x), y)
            error.backward()
            optimise.step()
            losses.append(error.item())
        with torch.no_grad():
            out = torch.cat([model(x) for x, _ in data])
        predictions.append((torch.sigmoid(out) if loss is bce else out).numpy())
    return losses, predictions


@pytest.fixture
def own_seed() -> Iterator[None]:
    """The twin seeds the process; give it back as it was."""
    with torch.random.fork_rng():
        yield


def question(
    users: int = 150, columns: int = 10, labels: int = 5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(users, columns)).astype(np.float16)
    return vectors, vectors[:, :labels] + generator.normal(size=(users, labels)) > 1


def rising() -> official.Evaluate:
    """Scores 0, 1, 2, …"""
    seen: list[int] = []

    def evaluate(prediction: np.ndarray) -> dict[str, float]:
        seen.append(1)
        return {"score": len(seen) - 1.0}

    return evaluate


@pytest.mark.usefixtures("own_seed")
def test_first_weights_are_the_organisers() -> None:
    torch.manual_seed(1278)
    plain = list(Plain(7, 3, SMALL.width, SMALL.inner).parameters())
    ours = official.network(7, 3, shape=SMALL)
    linear = [p for p in ours.parameters() if p.ndim == 2]
    assert sorted(p.shape for p in ours.parameters()) == sorted(p.shape for p in plain)
    for mine, theirs in zip(linear, [p for p in plain if p.ndim == 2], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    assert [tuple(p.shape) for p in ours.parameters()] == [tuple(p.shape) for p in plain]


def test_the_official_sizes() -> None:
    shape = Shape()
    assert (
        shape.width,
        shape.inner,
        shape.layers,
        official.SEED,
        official.LR,
        official.BATCH,
    ) == (2048, 4096, 3, 1278, 0.001, 128)
    assert official.EPOCHS == 3


@pytest.mark.usefixtures("own_seed")
@pytest.mark.parametrize("loss", [bce, mse], ids=lambda loss: loss.name)
def test_losses_and_predictions_are_those_of_the_slow_twin(loss: Loss) -> None:
    vectors, target = question()
    if loss is mse:
        target = np.log1p(np.abs(vectors[:, :2].astype(np.float64)) * 50)
    # 150 = 4 × 32 + 22: a short last batch.
    losses, predictions = slow(vectors, target, loss, epochs=3, batch=32)
    model = official.network(vectors.shape[1], target.shape[1], shape=SMALL)
    optimise = official.optimiser(model)
    for epoch in range(3):
        ours = list(official.steps(model, optimise, vectors, target, loss=loss, batch=32))
        np.testing.assert_allclose(ours, losses[5 * epoch : 5 * epoch + 5], rtol=1e-6)
        np.testing.assert_allclose(
            official.predict(model, vectors, loss=loss), predictions[epoch], rtol=1e-4, atol=1e-6
        )


@pytest.mark.usefixtures("own_seed")
def test_train_keeps_the_best_epoch(tmp_path: Path) -> None:
    vectors, target = question()
    np.save(tmp_path / "vectors.npy", vectors)
    losses, predictions = slow(vectors, target, bce, epochs=3, batch=32)
    scores = iter([0.2, 0.9, 0.9])  # of equals, the earlier

    def evaluate(prediction: np.ndarray) -> dict[str, float]:
        assert prediction.dtype == np.float32
        return {"score": next(scores), "auroc": 0.5}

    seen: list[tuple[str, int, int]] = []
    probed = official.train(
        np.load(tmp_path / "vectors.npy", mmap_mode="r"),
        target,
        loss=bce,
        evaluate=evaluate,
        batch=32,
        shape=SMALL,
        name="churn",
        progress=lambda *a: seen.append(a),
    )
    assert probed.best == 1
    assert [e["score"] for e in probed.epochs] == [0.2, 0.9, 0.9]
    assert [e["auroc"] for e in probed.epochs] == [0.5] * 3
    np.testing.assert_allclose(
        [e["loss"] for e in probed.epochs], np.mean(np.reshape(losses, (3, 5)), axis=1), rtol=1e-6
    )
    np.testing.assert_allclose(probed.prediction, predictions[1], rtol=1e-4, atol=1e-6)
    assert seen[0] == ("churn", 32, 900)
    assert seen[5] == ("churn", 300, 900)
    assert seen[-1] == ("churn", 900, 900)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_predicts_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, target = question(users=50)
    whole = official.train(vectors, target, loss=bce, evaluate=rising(), epochs=1, shape=SMALL)
    monkeypatch.setattr(official, "_ROWS", 7)
    pieces = official.train(vectors, target, loss=bce, evaluate=rising(), epochs=1, shape=SMALL)
    np.testing.assert_allclose(pieces.prediction, whole.prediction, atol=1e-6)


def test_same_bytes_again_and_the_process_generator_untouched() -> None:
    vectors, target = question()
    before = torch.random.get_rng_state()
    first = official.train(vectors, target, loss=bce, evaluate=rising(), shape=SMALL)
    torch.rand(3)
    second = official.train(vectors, target, loss=bce, evaluate=rising(), shape=SMALL)
    np.testing.assert_array_equal(first.prediction, second.prediction)
    assert first.epochs == second.epochs
    torch.random.set_rng_state(before)
    official.network(4, 2, shape=SMALL)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_learns() -> None:
    """Labels that the vectors decide: the last predictions put most pairs in order."""
    from clickprint.metrics.labels import macro_auroc

    vectors, target = question(users=2_000)
    probed = official.train(
        vectors,
        target,
        loss=bce,
        evaluate=lambda p: {"score": macro_auroc(target, p)},
        shape=Shape(width=64, inner=64, layers=1),
    )
    assert probed.epochs[probed.best]["score"] > 0.75


def test_row_order_matters() -> None:
    """Nothing is shuffled, so the order of client_ids is part of the protocol."""
    vectors, target = question(users=300)
    one = official.train(vectors, target, loss=bce, evaluate=rising(), shape=SMALL).prediction
    other = official.train(
        vectors[::-1], target[::-1], loss=bce, evaluate=rising(), shape=SMALL
    ).prediction[::-1]
    assert np.abs(one - other).max() > 1e-4


def test_a_diverging_network_is_named() -> None:
    vectors, _ = question(users=10)
    with pytest.raises(
        DataError,
        match=r"lifetime_value: .*epoch 0.*batch 0.*\binf\b",
    ):
        official.train(
            vectors,
            np.full((10, 1), 1e30),
            loss=mse,
            evaluate=rising(),
            shape=SMALL,
            name="lifetime_value",
        )


def test_a_prediction_that_is_not_finite_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step can break a network whose losses were all finite: here a learning rate blows
    it up after its only batch.
    """
    monkeypatch.setattr(official, "LR", 1e38)
    vectors, _ = question(users=10)
    with pytest.raises(DataError, match=r"spend: .*prediction.*epoch 0.*(nan|-?inf)"):
        official.train(
            vectors,
            np.ones((10, 2)),
            loss=mse,
            evaluate=rising(),
            shape=SMALL,
            epochs=1,
            name="spend",
        )


@pytest.mark.parametrize(("users", "labels"), [(0, 1), (3, 0)])
def test_arguments_that_do_not_fit(users: int, labels: int) -> None:
    with pytest.raises(ValueError, match="expected the same users"):
        official.train(
            np.zeros((users, 4), np.float16),
            np.zeros((users, labels), bool),
            loss=bce,
            evaluate=rising(),
            shape=SMALL,
        )


def test_without_gradients_to_write_over_they_are_new() -> None:
    """A network used outside `steps` behaves like any other."""
    model = official.network(4, 2, shape=SMALL)
    model(torch.ones(3, 4)).sum().backward()
    gradient = model.enter.weight.grad
    assert gradient is not None
    model.enter.weight.grad = None
    twice = model(torch.ones(3, 4, requires_grad=True)).sum()
    twice.backward()
    torch.testing.assert_close(model.enter.weight.grad, gradient)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device() == device("cpu") == "cpu"
    for word in ("gpu", "cuda", "mps"):
        with pytest.raises(ConfigError, match=f"accelerator: .*'{word}'.*torch"):
            device(word)
    with pytest.raises(ConfigError, match=r"accelerator: .*'tpu'.*auto, gpu, cuda, mps, cpu"):
        device("tpu")
    with pytest.raises(ConfigError, match=r"device 1: .*\b1 of cpu.*\b0 to 0"):
        device("cpu", 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device("gpu") == device() == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device() == "cuda:0"
    assert device("gpu", 1) == "cuda:1"
    with pytest.raises(ConfigError, match="from 0 to 1"):
        device("cuda", 2)
