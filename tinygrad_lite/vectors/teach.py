"""Teach n-grams to a model that has none, so that words it never saw get vectors: words are spelled, vectors are not.

Zhao, Mudgal & Liang 2018 ("Generalizing word embeddings using bag of subwords", 1809.04259): of known words both the spelling and
the vector are given, so vectors of n-grams are learned whose mean is the word's vector. What "-ness" or "multi-" mean, or that
a letter too many changes little, then holds for new words too.
"""
import numpy as np

from .. import losses
from ..nn import Parameter
from ..ops.activations import cosine_similarity
from ..ops.lookup import embedding_bag
from ..ops.reductions import mean
from ..optim import Adagrad
from ..progress import progress
from .bundle import SubwordVectors
from .neighbours import whole
from .subwords import Subwords

LOSSES = {"cosine": lambda guess, true: mean(1 - cosine_similarity(guess, true, 1)),
          "mse": losses.mse_loss}


def teach_ngrams(v, minn=3, maxn=6, loss="cosine", least=1, epochs=2, lr=1.0, batch=256, bucket=2 ** 24, seed=0, show=False):
    """SubwordVectors of the words of v, which keep their vectors, and of n-grams that give all other words one.

    Every n-gram that at least `least` words have gets a vector, at first the mean of all words. Then the mean of a word's
    n-grams is moved towards the word's own vector, so that the angle ("cosine") or the squared distance ("mse") shrinks, by
    sparse Adagrad with the rate lr times the spread of the vectors. With "cosine" the length of an unknown word's vector says
    nothing. More epochs serve misspelt words, which are nearly known, and hurt new ones.

    >>> from .words import WordVectors
    >>> words = ["rework", "redo", "reload", "undo", "unload", "unwork"]
    >>> true = np.array([[1, 0, 0], [1, 0, 3], [1, 3, 0], [-1, 0, 3], [-1, 3, 0], [-1, 0, 0]], "f")
    >>> v = teach_ngrams(WordVectors(words, true), minn=2, maxn=4, loss="mse", epochs=100)
    >>> v.neighbours("reloed", k=1)[0][0], v.neighbours("undoing", k=1)[0][0], v["redo"].tolist()
    ('reload', 'undo', [1.0, 0.0, 3.0])
    """
    if loss not in LOSSES:
        raise ValueError(f"loss: got {loss!r}, expected {', '.join(map(repr, LOSSES))}")
    least, epochs, batch = [whole(*given, 1) for given in (("least", least), ("epochs", epochs), ("batch", batch))]
    words, true = v.words, np.asarray(v.vectors, np.float32)
    finite = np.isfinite(true).all(axis=1)
    if not finite.all():
        raise ValueError(f"the vector of {words[int(finite.argmin())]!r} is not finite: leave the word out")
    scheme = frequent_ngrams(Subwords(minn, maxn, bucket), words, least)
    rows, counts = scheme.rows(words, 0)
    starts, spelled, rng = np.cumsum(counts) - counts, np.flatnonzero(counts), np.random.default_rng(seed)
    if not spelled.size:
        raise ValueError(f"none of {len(words)} words has an n-gram of {minn} to {maxn} characters that {least} words have")
    table = Parameter(np.tile(true.mean(axis=0), (len(scheme.kept), 1)))
    optimizer = Adagrad([table], lr=lr * float(true.std()))
    steps = [part for _ in range(epochs) for part in np.array_split(rng.permutation(spelled), -(-len(spelled) // batch))]
    for part in progress(steps, "teaching") if show else steps:
        bounds = np.concatenate([[0], np.cumsum(counts[part])])
        ids = rows[np.arange(bounds[-1]) + np.repeat(starts[part] - bounds[:-1], counts[part])]     # the rows of word after word
        optimizer.zero_grad()
        LOSSES[loss](embedding_bag(ids, table, bounds[:-1], mode="mean", sparse=True), true[part]).backward()
        optimizer.step()
    return SubwordVectors(words, v.vectors, scheme, table.data)


def frequent_ngrams(scheme, words, least):
    """The same n-grams, kept only where at least `least` words have them; a row for each.

    >>> frequent_ngrams(Subwords(2, 3, 10 ** 6), ["dark", "darker", "bark"], 2).ngrams("embark")
    ['ar', 'ark', 'rk', 'rk>', 'k>']
    """
    rows, counts = scheme.rows(words, 0)
    pairs = np.stack([rows, np.repeat(np.arange(len(words)), counts)])
    buckets, seen = np.unique(np.unique(pairs, axis=1)[0], return_counts=True)      # an n-gram counts once in a word
    buckets = buckets[seen >= least]
    return Subwords(scheme.minn, scheme.maxn, scheme.bucket, scheme.edges, np.stack([buckets, np.arange(len(buckets))], axis=1))
