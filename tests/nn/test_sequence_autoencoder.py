"""The auto-encoder's network.

Its loss by hand, what the decoder may see, padding, pieces, and that it can learn a sequence by
heart.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clickprint.core.rng import RNG
from clickprint.nn.autoencoder import (
    Reconstruction,
    SequenceAutoEncoder,
    chunks,
    in_chunks,
    mean_loss,
)
from clickprint.nn.next_item import Batch, last_states
from clickprint.nn.train import Training, shuffled, train

SIZES = {"item": 9, "kind": 3}
FORMS = {"plain": {"hidden": 8}, "wide": {"hidden": 12}, "deep": {"hidden": 8, "layers": 2}}


def model_of(
    form: str = "plain", sizes: dict[str, int] = SIZES, **more: float
) -> SequenceAutoEncoder:
    torch.manual_seed(0)
    return SequenceAutoEncoder(sizes, 8, length=6, **FORMS[form], **more).eval()


def rows(lengths: list[int], seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    random = np.random.default_rng(seed)
    starts = np.cumsum([0, *lengths]).astype(np.int64)
    return {n: random.integers(1, size + 1, starts[-1]) for n, size in SIZES.items()}, starts


def batch_of(lengths: list[int]) -> Batch:
    fields, starts = rows(lengths)
    return Batch.of(fields, starts[:-1], np.diff(starts))


def gru(layer: nn.GRU, inputs: np.ndarray, state: np.ndarray) -> np.ndarray:
    """The equations of a GRU of one layer (PyTorch's form), a step at a time."""
    (wi, wh, bi, bh), out = (p.detach().numpy().astype(np.float64) for p in layer.parameters()), []

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    for x in inputs:
        (ri, zi, ni), (rh, zh, nh) = np.split(wi @ x + bi, 3), np.split(wh @ state + bh, 3)
        r, z = sigmoid(ri + rh), sigmoid(zi + zh)
        state = (1 - z) * np.tanh(ni + r * nh) + z * state
        out.append(state)
    return np.array(out)


def test_the_loss_is_that_of_the_equations() -> None:
    """Embed, read to the last state h, start from h, give beginning + h, event + h, ….

    Say each event and then the end.
    """
    model = model_of(sizes={"item": 9})
    model.begin.data.normal_()
    values = [4, 9, 1, 4]
    table, head = model.embed["item"].weight.detach().numpy(), model.heads["item"]
    events = table[values].astype(np.float64)
    vector = gru(model.encoder, events, np.zeros(8))[-1]
    given = np.concatenate([model.begin.detach().numpy()[None], events]) + vector
    logits = (
        gru(model.decoder, given, vector) @ head.weight.detach().numpy().T
        + head.bias.detach().numpy()
    )
    wanted = sum(
        np.log(np.exp(row).sum()) - row[v] for row, v in zip(logits, [*values, 0], strict=True)
    )

    batch = Batch.of({"item": np.array(values)}, np.array([0]), np.array([4]))
    assert float(Reconstruction()(model, (batch,)).detach()) == pytest.approx(wanted, rel=1e-5)
    assert np.allclose(model.last(batch).detach().numpy()[0], vector, atol=1e-6)


def test_what_is_not_known_is_not_asked_and_fields_are_added() -> None:
    model, batch = model_of(), batch_of([4])
    batch.fields["item"][0, 1] = 0
    states = model(batch)[0]
    wanted = 0.0
    for name, values in (
        ("item", [*batch.fields["item"][0].tolist(), 0]),
        ("kind", [*batch.fields["kind"][0].tolist(), 0]),
    ):
        shares = model.heads[name](states).log_softmax(-1).detach()
        wanted -= sum(float(shares[t, v]) for t, v in enumerate(values) if v or t == 4)
    assert float(Reconstruction()(model, (batch,)).detach()) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_padding_and_company_change_nothing(form: str) -> None:
    model, (fields, starts) = model_of(form), rows([3, 0, 6, 1, 9, 5])
    found = np.zeros((6, 8), np.float32)
    for some, states in last_states(model, fields, starts, tokens=12):
        found[some] = states.numpy()
    assert not found[1].any()
    _, first, lengths = chunks(starts, 6)
    alone = 0.0
    for place, length in zip(first, lengths, strict=True):
        batch = Batch.of(fields, np.array([place]), np.array([length]))
        alone += float(Reconstruction()(model, (batch,)).detach())
    for row in (0, 2, 3, 4, 5):
        keep = min(starts[row + 1] - starts[row], 6)
        batch = Batch.of(fields, np.array([starts[row + 1] - keep]), np.array([keep]))
        assert np.allclose(model.last(batch).detach().numpy()[0], found[row], atol=1e-6)
    for pieces in (1, 3, 50):
        parts = list(in_chunks(fields, first, lengths, pieces)(np.arange(len(first))))
        assert (
            sum(weight for _, weight in parts) == 24 + 6
        )  # events and ends; the row of nine is two chunks, the empty one none
        assert sum(
            float(Reconstruction()(model, part).detach()) for part, _ in parts
        ) == pytest.approx(alone, rel=1e-5)
    assert not model.last(batch_of([0, 0])).any()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("changed", [0, 2, 5])
def test_the_decoder_never_sees_what_it_has_to_say(form: str, changed: int) -> None:
    model, batch = model_of(form), batch_of([6])
    events = model.events(batch)
    vector = model.vector(events, batch.lengths)
    before = model.decode(vector, events)
    other = events.clone()
    other[0, changed] += 1
    after = model.decode(vector, other)
    assert torch.equal(before[0, : changed + 1], after[0, : changed + 1])
    assert not torch.allclose(before[0, changed + 1], after[0, changed + 1])
    assert not torch.allclose(before[0, 0], model.decode(vector + 1, events)[0, 0]), (
        "the vector reaches every place"
    )


def test_hidden_events_are_asked_of_the_vector() -> None:
    model, batch = model_of(word_dropout=1.0), batch_of([6])
    events = model.events(batch)
    vector = model.vector(events, batch.lengths)
    assert not torch.allclose(model.decode(vector, events), model.decode(vector, events + 1)), (
        "not when it is used"
    )
    model.train()
    model.dropout.p = 0.0
    assert torch.equal(model.decode(vector, events), model.decode(vector, events + 1))


@pytest.mark.parametrize("form", ["plain", "deep"])
def test_it_learns_by_heart_and_says_it_from_the_vector_alone(form: str) -> None:
    model, (fields, starts) = model_of(form, dropout=0.0), rows([6, 3, 5, 1])
    model.word_dropout = 0.5
    _, first, lengths = chunks(starts, 6)
    parts, loss = in_chunks(fields, first, lengths), Reconstruction()
    start = mean_loss(model, parts, loss, 4)
    train(
        model, shuffled(4, RNG(0)), parts, loss, Training(epochs=160, batch=4, lr=0.03), rng=RNG(0)
    )
    assert mean_loss(model, parts, loss, 4) < 0.05 < 2 < start
    ((batch,), _) = next(iter(parts(np.arange(4))))
    vector, said = model.last(batch), torch.zeros(4, 0, 8)
    for t in range(6):  # it is given what it has said itself
        now = {n: model.heads[n](model.decode(vector, said)[:, t]).argmax(-1) for n in SIZES}
        there = t < batch.lengths
        for name, values in now.items():
            assert torch.equal(values[there], batch.fields[name][there, t])
        assert not now["item"][t == batch.lengths].any(), "the end"
        said = torch.cat(
            [said, model.events(Batch({n: v[:, None] for n, v in now.items()}, batch.lengths))], 1
        )


def test_many_values_are_sampled() -> None:
    model, loss = model_of(), Reconstruction(full=8, negatives=5)
    states, targets = torch.randn(7, 8), torch.randint(0, 10, (7,))
    for name, size in SIZES.items():
        head, some = model.heads[name], targets.clamp(max=size)
        logits = head(states).detach().double().numpy()
        torch.manual_seed(4)
        drawn = torch.randint(0, size + 1, (5,)).tolist() if size > 8 else range(size + 1)
        wanted = 0.0
        for row, v in zip(logits, some.tolist(), strict=True):
            others = [row[n] for n in drawn if n != v]  # one that is drawn twice counts twice
            wanted += np.log(np.exp([row[v], *others]).sum()) - row[v]
        torch.manual_seed(4)
        assert float(loss.of(states, head, some).detach()) == pytest.approx(wanted, rel=1e-5)


def test_a_mean_is_the_same_each_time_and_leaves_the_random_numbers_alone() -> None:
    model, (fields, starts) = model_of(), rows([4] * 10)
    parts, loss = (
        in_chunks(fields, starts[:-1], np.diff(starts)),
        Reconstruction(full=1, negatives=2),
    )
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    first = mean_loss(model, parts, loss, 10)
    assert torch.equal(torch.rand(1), wanted)
    assert first == mean_loss(model, parts, loss, 10) > 0
    assert mean_loss(model, parts, loss, 0) == 0
    whole = Reconstruction()
    assert mean_loss(model, parts, whole, 10, batch=3) == pytest.approx(
        mean_loss(model, parts, whole, 10)
    )


@given(st.lists(st.integers(0, 11), max_size=6), st.integers(1, 5), st.integers(0, 3))
def test_stretches_are_cut_from_the_end(lengths: list[int], length: int, most: int) -> None:
    starts = np.cumsum([0, *lengths]).astype(np.int64)
    wanted = []
    for row in range(len(lengths)):
        events = list(range(starts[row], starts[row + 1]))
        cut = []
        while events:
            cut.append((row, events[-length:]))
            events = events[:-length]
        wanted += cut[: most or None]
    found = [
        (int(r), list(range(f, f + n)))
        for r, f, n in zip(*chunks(starts, length, most), strict=True)
    ]
    assert found == wanted
