"""DataLoader's orders and batches, and the two readers on good, odd and broken files."""
import gzip
import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_lite.data import DataLoader, read_idx, read_svmlight
from tinygrad_lite.tensor import Tensor


def labels_of(loader):
    return [batch.tolist() for batch in loader]


# ---------------------------------------------------------------- DataLoader

@given(samples=st.integers(0, 50), batch_size=st.integers(1, 60), drop_last=st.booleans(), seed=st.integers(0, 2**40))
def test_every_epoch_is_a_permutation(samples, batch_size, drop_last, seed):
    loader = DataLoader(np.arange(samples), batch_size=batch_size, shuffle=True, drop_last=drop_last, seed=seed)
    for _ in range(3):
        batches = labels_of(loader)
        seen = [i for batch in batches for i in batch]
        assert len(batches) == len(loader) == (samples // batch_size if drop_last else math.ceil(samples / batch_size))
        assert len(set(seen)) == len(seen) and set(seen) <= set(range(samples))
        assert len(seen) == (len(loader) * batch_size if drop_last else samples)
        assert all(len(batch) == batch_size for batch in batches[:-1])


def test_orders_are_new_each_epoch_and_the_same_for_a_seed():
    a, b, c = (DataLoader(np.arange(100), batch_size=10, shuffle=True, seed=seed) for seed in (1, 1, 2))
    orders = [labels_of(a) for _ in range(4)]
    assert orders == [labels_of(b) for _ in range(4)] != [labels_of(c) for _ in range(4)]
    assert len({str(order) for order in orders}) == 4


def test_without_shuffle_the_order_is_the_data_s():
    loader = DataLoader(np.arange(5), batch_size=2)
    assert labels_of(loader) == labels_of(loader) == [[0, 1], [2, 3], [4]]


def test_resumes_at_an_epoch():
    whole, later = (DataLoader(np.arange(50), batch_size=8, shuffle=True, seed=3) for _ in range(2))
    orders = [labels_of(whole) for _ in range(5)]
    later.epoch = 3
    assert [labels_of(later), labels_of(later)] == orders[3:] and later.epoch == 5


def test_an_unseeded_loader_can_be_repeated_from_its_seed():
    first, other = (DataLoader(np.arange(50), shuffle=True) for _ in range(2))
    assert labels_of(first) == labels_of(DataLoader(np.arange(50), shuffle=True, seed=first.seed)) != labels_of(other)


def test_does_not_touch_numpy_s_global_state():
    before = np.random.get_state()[1].copy()
    list(DataLoader(np.arange(50), shuffle=True, seed=0))
    assert np.array_equal(np.random.get_state()[1], before)


def test_floats_come_as_tensors_of_their_dtype_and_integers_as_arrays():
    x, ids, mask = np.ones((4, 3)), np.arange(4), np.array([True, False] * 2)
    batch = next(iter(DataLoader(x, x.astype(np.float32), ids, mask, Tensor(x), batch_size=3)))
    assert [type(part) for part in batch] == [Tensor, Tensor, np.ndarray, np.ndarray, Tensor]
    assert [str(part.dtype) for part in batch] == ["float64", "float32", "int64", "bool", "float64"]
    assert [part.shape for part in batch] == [(3, 3), (3, 3), (3,), (3,), (3, 3)]


def test_rows_stay_together():
    x = np.arange(60.).reshape(20, 3)
    for rows, ids in DataLoader(x, np.arange(20), batch_size=7, shuffle=True, seed=0):
        assert np.array_equal(rows.data, x[ids])


def test_a_batch_is_a_copy():
    x = np.zeros((4, 2))
    for batch in DataLoader(x, batch_size=2):
        batch.data += 1
    assert not x.any()


def test_a_tuple_of_arrays_and_a_sequence_of_samples_agree():
    x, y = np.arange(12.).reshape(6, 2), np.arange(6)
    spread, together, pairs = (DataLoader(*data, batch_size=4, shuffle=True, seed=5)
                               for data in ((x, y), ((x, y),), (list(zip(x, y)),)))
    for a, b, c in zip(spread, together, pairs, strict=True):
        for part in (0, 1):
            assert np.array_equal(np.asarray(a[part]), np.asarray(b[part]))
            assert np.array_equal(np.asarray(a[part]), np.asarray(c[part]))
        assert isinstance(c[0], Tensor) and isinstance(c[1], np.ndarray)


def test_single_samples_come_without_a_tuple():
    batch = next(iter(DataLoader([1.5, 2.5, 3.5], batch_size=2)))
    assert isinstance(batch, Tensor) and batch.data.tolist() == [1.5, 2.5]


def test_sparse_rows_are_made_dense():
    from scipy.sparse import csr_array
    dense = np.eye(5)
    batch = next(iter(DataLoader(csr_array(dense), batch_size=3)))
    assert isinstance(batch, Tensor) and np.array_equal(batch.data, dense[:3])


@pytest.mark.parametrize("make, message", [
    (lambda: DataLoader(), "no data; pass arrays"),
    (lambda: DataLoader(np.ones(3), batch_size=0), "batch_size=0 is not allowed; expected an integer >= 1"),
    (lambda: DataLoader(np.ones(3), batch_size=2.), "batch_size=2.0 is not allowed"),
    (lambda: DataLoader(np.ones(3), seed=-1), "seed=-1 is not allowed; expected an integer >= 0"),
    (lambda: DataLoader(np.ones((3, 2)), np.ones(4)), r"array 0 has shape (3, 2) and array 1 has (4,)"),
    (lambda: DataLoader(np.float64(3)), "array 0 has shape ()"),
    (lambda: list(DataLoader([np.ones(2), np.ones(3)], batch_size=2)), "sample 0 has shape (2,) and sample 1 has (3,)"),
])
def test_bad_data(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)


def test_lists_beside_arrays_say_what_to_do():
    with pytest.raises(TypeError, match="got .'ndarray', 'list'.; pass numpy.asarray of each"):
        DataLoader(np.ones(3), [1, 2, 3])


# ---------------------------------------------------------------- idx

IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx_bytes(array, code):
    return bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(IDX_DTYPES[code]).tobytes()


@pytest.fixture
def written(tmp_path):
    def write(data):
        path = tmp_path / "file"
        path.write_bytes(data)
        return path
    return write


@pytest.mark.parametrize("code", IDX_DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_round_trip(written, code, shape, pack):
    array = (np.arange(math.prod(shape)) % 100 - 50 * (code != 0x08)).reshape(shape)
    back = read_idx(written(pack(idx_bytes(array, code))))
    assert back.dtype == np.dtype(IDX_DTYPES[code]).newbyteorder("=") and back.dtype.isnative and back.shape == shape
    assert np.array_equal(back, array.astype(IDX_DTYPES[code])) and back.flags.writeable


@pytest.mark.parametrize("data, message", [
    (b"", "not an idx file: it begins with b''"),
    (b"PK\3\4", "not an idx file"),
    (b"\0\0\7\1\0\0\0\1x", "dtype code 0x07 is unknown; expected one of 0x08, 0x09, 0x0b"),
    (b"\0\0\10\3\0\0\0\2", "truncated in its header: expected 16 bytes for 3 dimensions, got 8"),
    (b"\0\0\10\1\0\0\0\5abc", "truncated: shape (5,) of uint8 needs 13 bytes, got 11"),
    (b"\0\0\10\1\0\0\0\1abc", "too long: shape (1,) of uint8 needs 9 bytes, got 11"),
    (b"\0\0\10\3" + b"\xff" * 12 + b"abc", "truncated: shape (4294967295, 4294967295, 4294967295)"),
    (gzip.compress(bytes(1000), mtime=0)[:-9], "not a whole gzip file"),
    (b"\x1f\x8b rubbish", "not a whole gzip file"),
])
def test_idx_refuses(written, data, message):
    path = written(data)
    with pytest.raises(ValueError) as error:
        read_idx(path)
    assert message in str(error.value) and str(path) in str(error.value)


# ---------------------------------------------------------------- svmlight

@pytest.mark.parametrize("zero_based", [True, False, "auto"])
def test_svmlight_agrees_with_scikit_learn(tmp_path, zero_based):
    from sklearn.datasets import dump_svmlight_file, load_svmlight_file
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 12)) * (rng.random((40, 12)) < 0.3)
    path = os.fspath(tmp_path / "data.svm")
    dump_svmlight_file(X, rng.integers(-1, 2, 40), path, zero_based=bool(zero_based))
    ours, y = read_svmlight(path, zero_based=zero_based)
    theirs, labels = load_svmlight_file(path, zero_based=zero_based)
    assert ours.shape == theirs.shape and (ours != theirs).nnz == 0 and np.array_equal(y, labels)


def test_svmlight_odd_but_good(written):
    X, y = read_svmlight(written(gzip.compress(b"# a comment: 0:1\r\n\r\n+1.5e0 qid:3 7:.5 2:-1e2\r\n-1\n0 1:+3. # 0:9")))
    assert X.toarray().tolist() == [[0, -100, 0, 0, 0, 0, .5], [0] * 7, [3, 0, 0, 0, 0, 0, 0]] and y.tolist() == [1.5, -1, 0]
    assert X.indices[:2].tolist() == [1, 6]
    assert read_svmlight(written(b""))[0].shape == (0, 0)
    assert read_svmlight(written(b"1 1:2\n"), n_features=9)[0].shape == (1, 9)
    assert read_svmlight(written(b"1 0:2 1:3\n"), zero_based="auto")[0].toarray().tolist() == [[2, 3]]


MALFORMED = [
    (b"1 1:2\nspam 1:3\n", 2, 1, "expected a finite number as label, got 'spam'"),
    (b"nan 1:3\n", 1, 1, "expected a finite number as label, got 'nan'"),
    (b"1 1:2  3\n", 1, 8, "expected index:value with finite numbers, got '3'"),
    (b"\n1 1:2 3:x # c\n", 2, 7, "expected index:value with finite numbers, got '3:x'"),
    (b"1 1:2 3:1e999\n", 1, 7, "got '3:1e999'"),
    (b"1 1:2 -3:1\n", 1, 7, "got '-3:1'"),
    (b"1 1_0:2\n", 1, 3, "got '1_0:2'"),
    (b"1 1:2 2:3 1:4\n", 1, 11, "index 1 stands twice, first at column 3"),
    (b"1 5:2\n", 1, 3, "index 5 is outside 1..4"),
    (b"1 99999999999999999999:2\n", 1, 3, "index 99999999999999999999 is outside"),
    (b"1 \xff\xfe:2\n", 1, 3, "expected index:value"),
    (b"1 " + b"x" * 10**6 + b"\n", 1, 3, "got '" + "x" * 40 + "...'"),
]


@pytest.mark.parametrize("data, line, column, message", MALFORMED, ids=[case[3][:30] for case in MALFORMED])
def test_svmlight_malformed(written, data, line, column, message):
    path = written(data)
    with pytest.raises(ValueError) as error:
        read_svmlight(path, n_features=4)
    assert f"{path}, line {line}, column {column}: " in str(error.value) and message in str(error.value)


def test_svmlight_counts_what_it_leaves_out(written):
    path = written(b"1 1:2\nspam 1:3\n-1 2:1\n1 1:2 1:3\n")
    with pytest.warns(UserWarning) as caught:
        X, y = read_svmlight(path, strict=False)
    assert X.toarray().tolist() == [[2, 0], [0, 1]] and y.tolist() == [1, -1]
    assert [str(w.message) for w in caught] == [
        f"2 of 4 lines left out; the first: {path}, line 2, column 1: expected a finite number as label, got 'spam'"]
    assert caught[0].filename == __file__


def test_svmlight_bounds_follow_the_base(written):
    path = written(b"1 0:1 3:1\n")
    assert read_svmlight(path, n_features=4)[0].shape == (1, 4)
    with pytest.raises(ValueError, match="index 0 is outside 1..4"):
        read_svmlight(path, n_features=4, zero_based=False)
    with pytest.raises(ValueError, match="index 3 is outside 0..2"):
        read_svmlight(path, n_features=3)
    with pytest.raises(ValueError, match="zero_based='maybe' is not allowed"):
        read_svmlight(path, zero_based="maybe")
