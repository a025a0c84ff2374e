"""Teaching n-grams: which n-grams there are, that the losses fall to what least squares reaches, what stays as it was, bad input."""
import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite.vectors import Subwords, WordVectors, load, save_bundle, teach_ngrams
from tinygrad_lite.vectors.teach import frequent_ngrams


def spelled(rng, n=60, dim=5):
    """Words whose vectors are exactly means of vectors of their 2-grams."""
    words = list(dict.fromkeys("".join(rng.choice(list("abcd"), rng.integers(2, 7))) for _ in range(n)))
    scheme = frequent_ngrams(Subwords(2, 2, 2 ** 24), words, 1)
    return WordVectors(words, scheme.means(words, 0, rng.normal(size=(len(scheme.kept), dim)).astype(np.float32))), scheme


@pytest.mark.parametrize("loss", ["mse", "cosine"])
def test_what_can_be_spelled_is_learned(loss):
    v, scheme = spelled(np.random.default_rng(0))
    taught = teach_ngrams(v, 2, 2, loss, epochs=400, batch=16)
    guess = taught.subword.means(v.words, 0, taught.matrix)
    cosine = (guess * v.vectors).sum(1) / np.linalg.norm(guess, axis=1) / np.linalg.norm(v.vectors, axis=1)
    assert cosine.min() > 0.98 and (loss == "cosine" or np.abs(guess - v.vectors).max() < 0.1 * np.abs(v.vectors).max())
    np.testing.assert_array_equal(taught.subword.kept, scheme.kept)
    first, last = (np.mean((t.subword.means(v.words, 0, t.matrix) - v.vectors) ** 2) for t in (teach_ngrams(v, 2, 2, loss, epochs=1), taught))
    assert loss == "cosine" or last < first / 100


def test_it_comes_near_the_least_squares_solution():
    """With more n-grams than it can satisfy, mse must not stay far above its least possible value."""
    rng = np.random.default_rng(1)
    v, scheme = spelled(rng, n=200)
    v.vectors += rng.normal(size=v.vectors.shape).astype(np.float32)
    rows, counts = scheme.rows(v.words, 0)
    mixing = np.zeros((len(v.words), len(scheme.kept)))
    np.add.at(mixing, (np.repeat(np.arange(len(counts)), counts), rows), np.repeat(1 / counts, counts))
    best = np.mean((mixing @ np.linalg.lstsq(mixing, v.vectors, rcond=None)[0] - v.vectors) ** 2)
    taught = teach_ngrams(v, 2, 2, "mse", epochs=150, batch=32)
    reached = np.mean((mixing @ taught.matrix - v.vectors) ** 2)
    assert best < reached < 1.05 * best < 0.8 * v.vectors.var()


def test_known_words_keep_their_vectors_and_unknown_ones_get_some():
    v, _ = spelled(np.random.default_rng(2))
    taught = teach_ngrams(v, 2, 3)
    assert taught.words == v.words and taught.vectors is v.vectors and np.array_equal(taught[v.words[3]], v.vectors[3])
    assert taught["abcdabcd"].any() and not taught["xyz"].any() and not taught[""].any()        # no n-gram of xyz was seen
    np.testing.assert_array_equal(taught["axyz"], taught.matrix[taught.subword.rows(["axyz"], 0)[0]].mean(axis=0))


def test_same_seed_same_bits(tmp_path):
    v, _ = spelled(np.random.default_rng(3))
    a, b, c = (teach_ngrams(v, epochs=3, batch=8, seed=seed) for seed in (0, 0, 1))
    assert a.matrix.tobytes() == b.matrix.tobytes() != c.matrix.tobytes()
    tg.seed(5)
    assert teach_ngrams(v, epochs=3, batch=8).matrix.tobytes() == a.matrix.tobytes()
    again = load(save_bundle(a, str(tmp_path / "taught"))[0])
    assert again.words == a.words and again.matrix.tobytes() == a.matrix.tobytes()
    assert np.array_equal(again["abcabc"], a["abcabc"]) and again.neighbours("abcabc", 3) == a.neighbours("abcabc", 3)


def test_rare_ngrams_are_left_out():
    words = ["abab", "abc", "xbc"]
    assert frequent_ngrams(Subwords(2, 2, 2 ** 24), words, 2).used(words).keys() == {"<a", "ab", "bc", "c>"}     # ab in two words, ba in one
    assert frequent_ngrams(Subwords(2, 2, 2 ** 24), words, 3).used(words) == {}


def test_bad_input(capsys):
    v = WordVectors(["ab", "b", "abc"], np.ones((3, 2), "f"))
    for options, message in [(dict(loss="l1"), "loss: got 'l1', expected 'cosine', 'mse'"), (dict(epochs=0), "epochs: got 0, expected at least 1"),
                             (dict(batch=-1), "batch: got -1"), (dict(least=9), "none of 3 words has an n-gram of 3 to 6 characters that 9 words have"),
                             (dict(minn=5, maxn=4), "none of 3 words has an n-gram"), (dict(maxn=-1), "expected none negative")]:
        with pytest.raises(ValueError, match=message):
            teach_ngrams(v, **options)
    v.vectors[1] = np.nan
    with pytest.raises(ValueError, match="the vector of 'b' is not finite: leave the word out"):
        teach_ngrams(v)
    v.vectors[1] = 0
    teach_ngrams(v, epochs=20, show=True)
    assert "teaching" in capsys.readouterr().out
