"""CharCNN: the plain form (Embedding, Conv2d, maximum over time) as its oracle, padding, repeated words, alphabets, bad input."""
import numpy as np
import pytest

import tinygrad_lite as tg
from tinygrad_lite import Tensor, nn
from tinygrad_lite.kernels.charcnn import windows_max, windows_max_gradient
from tinygrad_lite.nn.charcnn import Alphabet, CharCNN, _best, _formula, distinct


def words(rng, n=9, length=7, chars=12, shortest=0):
    """Ids of words of all lengths, padded with 0."""
    sizes = rng.integers(shortest, length + 1, n)
    return np.where(np.arange(length) < sizes[:, None], rng.integers(1, chars, (n, length)), 0)


def plain(net, word):
    """One word's vector as layers: its characters, followed by padding up to the widest filter."""
    best = []
    for width, conv in zip(net.widths, net.convolutions):
        filled = np.append(word, np.zeros(max(0, width - len(word)), int))
        e = net.embedding(filled).reshape(1, 1, len(filled), -1)
        best.append(conv(e).reshape(conv.weight.shape[0], -1).max(axis=1))
    return net.highway(tg.tanh(tg.concatenate(best)))


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-10), (np.float32, 2e-5)])
@pytest.mark.parametrize("filters, widths, highway", [(4, (1, 2, 3), 1), ((2, 5), (3, 9), 2), (3, 2, 0), (64, (3,), 0)])
def test_each_word_is_what_the_layers_make_of_it(filters, widths, highway, dtype, rtol):
    tg.seed(0)
    rng = np.random.default_rng(0)
    net = CharCNN(12, 5, filters, widths, highway)
    net = net.double() if dtype == np.float64 else net
    ids = words(rng)
    g = rng.normal(size=(len(ids), net.out_features)).astype(dtype)
    z = net(ids)
    z.backward(g)
    grads = {name: p.grad for name, p in net.named_parameters()}
    net.zero_grad()
    for i, row in enumerate(ids):
        one = plain(net, row[row > 0])
        one.backward(g[i])
        np.testing.assert_allclose(z.data[i], one.data, rtol=rtol, atol=rtol)
    for name, p in net.named_parameters():
        np.testing.assert_allclose(grads[name], p.grad, rtol=rtol, atol=rtol * 10, err_msg=name)
    assert (grads["embedding.weight"][0] == 0).all() and z.dtype == dtype


def test_a_vector_does_not_depend_on_what_else_is_in_the_batch():
    rng, net = np.random.default_rng(0), CharCNN(12, 5, 4, (1, 3, 5)).double()
    ids = words(rng)
    alone = np.concatenate([net(row[None, :max(1, (row > 0).sum())]).data for row in ids])
    np.testing.assert_allclose(net(ids).data, alone, rtol=1e-12)
    np.testing.assert_allclose(net(np.pad(ids, ((0, 0), (0, 11)))).data, alone, rtol=1e-12)
    twice = net(np.concatenate([ids, ids[::-1]]).reshape(2, 3, 3, 7))
    assert twice.shape == (2, 3, 3, 12)
    np.testing.assert_allclose(twice.data.reshape(18, -1), np.concatenate([alone, alone[::-1]]), rtol=1e-12)


def test_repeated_words_are_computed_once_and_their_gradients_add(monkeypatch):
    rng, net = np.random.default_rng(0), CharCNN(12, 5, 4, (2, 3)).double()
    ids, computed, features = words(rng, 5, shortest=1), [], CharCNN.features
    monkeypatch.setattr(CharCNN, "features", lambda self, w: computed.append(len(w)) or features(self, w))
    place = rng.integers(0, 5, 40)
    g = rng.normal(size=(40, 8))
    net(ids[place]).backward(g)
    many = {name: p.grad for name, p in net.named_parameters()}
    net.zero_grad()
    summed = np.zeros((5, 8))
    np.add.at(summed, place, g)
    net(ids).backward(summed)
    assert computed == [len(set(place)), 5]
    for name, p in net.named_parameters():
        np.testing.assert_allclose(many[name], p.grad, rtol=1e-10, atol=1e-12)


def test_distinct_words():
    rng = np.random.default_rng(0)
    for n, length, chars in [(0, 3, 4), (1, 1, 2), (50, 2, 3), (50, 0, 2), (300, 8, 200)]:
        ids = words(rng, n, length, chars)
        found, place = distinct(ids)
        assert len({tuple(row) for row in found.tolist()}) == len(found) and np.array_equal(found if place is None else found[place], ids)


def test_words_whose_numbers_collide_stay_apart(monkeypatch):
    class Zeros:
        def integers(self, high, size):
            return np.full(size, -1)                        # -1 | 1: the number of a word is minus the sum of its ids
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Zeros())
    ids = np.array([[1, 2], [2, 1], [1, 2]])
    found, place = distinct(ids)
    assert len(found) == 2 and np.array_equal(found[place], ids)


def test_gradients_of_any_order():
    rng = np.random.default_rng(0)
    ids, table = words(rng), rng.normal(size=(12, 3, 4))
    counts = rng.integers(1, 6, len(ids))
    assert tg.gradcheck(lambda t: _best(t, ids, counts) ** 2, [table], order=2)
    np.testing.assert_allclose(_best(Tensor(table), ids, counts).data, _formula(Tensor(table), ids, counts).data, rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_passed_over(bad):
    table = np.ones((3, 2, 1))
    table[2, 0] = bad
    best, at = windows_max(table, np.array([[1, 2, 1], [1, 1, 1]]), np.array([2, 2]))
    assert np.array_equal(best, [[2.0 if bad == -np.inf else bad], [2.0]], equal_nan=True) and at[0, 0] == (bad != -np.inf)
    assert windows_max_gradient(np.ones((2, 1)), np.array([[1, 2, 1], [1, 1, 1]]), at, (3, 2, 1)).sum() == 4


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0), (2, 0, 4)])
def test_no_words_and_empty_words(shape):
    net = CharCNN(12, 5, 4, (2, 3))
    z = net(np.zeros(shape, int))
    assert z.shape == (*shape[:-1], 8)
    if z.size:
        np.testing.assert_allclose(z.data, np.broadcast_to(plain(net, np.zeros(0, int)).data, z.shape), rtol=1e-6)
    z.sum().backward()


def test_it_feeds_a_recurrent_net_and_learns():
    """Which of two words has an x in it: the pair's vectors, read by a GRU."""
    tg.seed(0)
    rng, letters = np.random.default_rng(0), np.array(list("abcdefgh"))
    alphabet = Alphabet("abcdefghx")
    net, gru, out = CharCNN(len(alphabet), 6, 6, (1, 2)), nn.GRU(12, 12, batch_first=True), nn.Linear(12, 2)
    opt = tg.optim.Adam([*net.parameters(), *gru.parameters(), *out.parameters()], lr=0.02)
    for _ in range(80):
        y = rng.integers(0, 2, 32)
        pairs = ["".join(rng.choice(letters, rng.integers(1, 6))) + "x" * int(side == y[i]) for i in range(32) for side in (0, 1)]
        z, _ = gru(net(alphabet.encode(pairs).reshape(32, 2, -1)))
        loss = tg.losses.cross_entropy(out(z[:, -1]), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    assert loss.item() < 0.1


def test_weights_are_those_of_the_plain_form():
    shapes = {name: p.shape for name, p in CharCNN(12, 5, (4, 6), (2, 3), highway=0).named_parameters()}
    assert shapes == {"embedding.weight": (12, 5), "convolutions.0.weight": (4, 1, 2, 5), "convolutions.0.bias": (4,),
                      "convolutions.1.weight": (6, 1, 3, 5), "convolutions.1.bias": (6,)}


def test_alphabet():
    a = Alphabet(["bbb", "aa", "c"], most=6)
    assert len(a) == 6 and a.encode(["abcab"], longest=3).tolist() == [[2, 5, 4, 1, 3]] and a.encode([]).shape == (0, 2)
    assert len(Alphabet("")) == 4 and Alphabet("ab").ids == {"a": 4, "b": 5}
    assert len(Alphabet("héé\U0001f600")) == 7 and Alphabet("x").encode(["x"]).dtype.kind == "i"


BAD = [
    (lambda: CharCNN(12)(np.array([[1, 2], [3, 12]])), IndexError, r"CharCNN: id 12 at position \(1, 1\), expected 0\.\.11"),
    (lambda: CharCNN(12)(np.array(3)), ValueError, r"CharCNN: got ids of shape \(\), expected \(\.\.\., length\)"),
    (lambda: CharCNN(12)(np.ones((2, 3))), TypeError, "CharCNN: ids have dtype float64, expected integers"),
    (lambda: CharCNN(12, 5, (2, 3), (2,)), ValueError, r"got filters=\(2, 3\), widths=\(2,\), expected numbers >= 1, one of filters for each width"),
    (lambda: CharCNN(12, 5, 2, ()), ValueError, r"widths=\(\)"), (lambda: CharCNN(12, 5, 0, 2), ValueError, r"filters=\(0,\)"),
    (lambda: CharCNN(12, 5, 2, (0, 1)), ValueError, r"widths=\(0, 1\)"),
    (lambda: CharCNN(0), ValueError, "num_embeddings=0"),
    (lambda: Alphabet("ab").encode("ab"), TypeError, "got the string 'ab', expected a list of words"),
]


@pytest.mark.parametrize("call, kind, message", BAD, ids=[m for _, _, m in BAD])
def test_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
