"""Item vectors by a sentence encoder: a tiny one that is made here, so that they are known."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.items import AttributeType, Catalogue
from clickprint.recommenders.retrievers import sentences
from clickprint.recommenders.retrievers.sentences import sentence_vectors

WORDS = ("[UNK]", "red", "blue", "mug", "cap")
TEXT = {"title": AttributeType.TEXT, "color": AttributeType.TEXT}


def catalogue(items: list[int], title: list[str | None], color: list[str | None]) -> Catalogue:
    table = pa.table(
        {
            "item": pa.array(items, pa.int64()),
            "title": pa.array(title, pa.string()),
            "color": pa.array(color, pa.string()),
        }
    )
    return Catalogue(table, TEXT)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The mean of one axis a word."""
    library = pytest.importorskip(
        "sentence_transformers", reason="the extra `llm` is not installed"
    )
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokens = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token=WORDS[0]))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = str(tmp_path_factory.mktemp("sentences") / "model")
    library.SentenceTransformer(
        modules=[StaticEmbedding(tokens, embedding_weights=np.eye(len(WORDS), dtype=np.float32))],
        device="cpu",
    ).save(folder)
    return folder


def test_a_vector_is_the_encoders_of_all_texts_of_the_item(model: str) -> None:
    known = catalogue([7, 3, 5, 9], ["mug", "red mug", None, " "], ["blue", None, None, ""])
    items, vectors = sentence_vectors(known, model)
    assert items.tolist() == [3, 5, 7, 9]
    axis = dict(zip(WORDS, np.eye(len(WORDS)), strict=True))
    np.testing.assert_allclose(vectors[0], (axis["red"] + axis["mug"]) / 2)
    np.testing.assert_allclose(
        vectors[2], (axis["mug"] + axis["[UNK]"] + axis["blue"]) / 3
    )  # the dot between them is a word, too
    assert not vectors[[1, 3]].any()  # of these nothing is said


def test_no_texts_no_items_and_no_model(model: str, tmp_path: Path) -> None:
    items, vectors = sentence_vectors(catalogue([], [], []), model)
    assert (len(items), len(vectors)) == (0, 0)
    assert not sentence_vectors(catalogue([1], [None], [None]), model)[1].any()
    bare = Catalogue(pa.table({"item": pa.array([1], pa.int64())}), {})
    with pytest.raises(ConfigError, match=r"^sentences: .*text.*no attribute"):
        sentence_vectors(bare, model)
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(
            ConfigError, match=rf"^sentences: .*{wrong.name}'.*sentence-transformers"
        ):
            sentence_vectors(catalogue([1], ["mug"], [None]), str(wrong))


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'clickprint\[llm\]'"):
        sentences._encoder("any name")
