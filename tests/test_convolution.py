"""Convolutions: the definition as a loop, SciPy, adjoints, derivatives, layouts, paddings, layers, and what is refused."""
import re
import warnings
from itertools import product

import numpy as np
import pytest
import scipy.signal

import tinygrad_lite as tg
from tinygrad_lite import Tensor, nn
from tinygrad_lite.nn import functional as F
from tinygrad_lite.ops import convolution

CONV = {1: F.conv1d, 2: F.conv2d}
TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d}


def by_definition(x, w, b, stride, padding, dilation, groups):
    """z[n, o, p] = b[o] + sum x[n, c, s p + d k] w[o, c, k], number by number."""
    x = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]])
    per_group, outputs = w.shape[1], w.shape[0] // groups
    size = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], w.shape[2:], stride, dilation)]
    z = np.zeros((x.shape[0], w.shape[0], *size))
    for n, o, *p in np.ndindex(z.shape):
        for c, *k in np.ndindex(w.shape[1:]):
            at = [s * i + d * j for s, i, d, j in zip(stride, p, dilation, k)]
            z[(n, o, *p)] += x[(n, o // outputs * per_group + c, *at)] * w[(o, c, *k)]
    return z + b.reshape(-1, *[1] * len(size))


def drawn(rng, transposed=False):
    """Inputs and options of a convolution of one or two axes that fit each other."""
    axes, groups = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    inputs, outputs = groups * int(rng.integers(1, 3)), groups * int(rng.integers(1, 3))
    several = lambda low, high: tuple(rng.integers(low, high, axes).tolist())
    kernel, dilation = several(1, 4), several(1, 3)
    stride, padding = tuple([int(rng.integers(1, k + 1)) for k in kernel]), several(0, 3)
    x = rng.normal(size=(int(rng.integers(1, 4)), inputs, *several(5, 8)))
    w = rng.normal(size=(inputs, outputs // groups, *kernel) if transposed else (outputs, inputs // groups, *kernel))
    return axes, x, w, rng.normal(size=outputs), dict(stride=stride, padding=padding, dilation=dilation, groups=groups)


def leaves(*arrays):
    return [Tensor(a, requires_grad=True) for a in arrays]


@pytest.mark.parametrize("seed", range(25))
def test_the_definition(seed):
    axes, x, w, b, options = drawn(np.random.default_rng(seed))
    expected = by_definition(x, w, b, **options)
    np.testing.assert_allclose(CONV[axes](x, w, b, **options).data, expected, rtol=1e-12, atol=1e-12)
    z = CONV[axes](*leaves(x.astype("f"), w.astype("f"), b.astype("f")), **options)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.data, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape, kernel", [((9,), (4,)), ((1,), (1,)), ((30, 7), (3, 2)), ((5, 5), (5, 5))])
@pytest.mark.parametrize("mode", ["valid", "full", "same"])
def test_scipy_agrees(shape, kernel, mode):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=shape), rng.normal(size=kernel)
    expected = scipy.signal.correlate(x, w, "full" if mode == "full" else "valid")
    if mode == "same":                      # SciPy centres an even kernel the other way
        expected = scipy.signal.correlate(np.pad(x, [((k - 1) // 2, k // 2) for k in kernel]), w, "valid")
        assert expected.shape == shape
    padding = tuple([k - 1 for k in kernel]) if mode == "full" else mode
    z = CONV[len(shape)](x[None], w[None, None], padding=padding)
    np.testing.assert_allclose(z.data[0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_derivatives_to_second_order(seed):
    rng = np.random.default_rng(seed)
    axes, x, w, b, options = drawn(rng)
    assert tg.gradcheck(lambda x, w, b: CONV[axes](x, w, b, **options) ** 2, [x, w, b], order=2)
    axes, x, w, b, options = drawn(rng, transposed=True)
    extra = tuple([int(rng.integers(0, max(s, d))) for s, d in zip(options["stride"], options["dilation"])])
    assert tg.gradcheck(lambda x, w, b: TRANSPOSE[axes](x, w, b, output_padding=extra, **options) ** 2, [x, w, b], order=2)


def test_third_derivatives():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 2, 4)), rng.normal(size=(2, 2, 2))
    assert tg.gradcheck(lambda x, w: F.conv1d(x, w) ** 3, [x, w], order=3)


@pytest.mark.parametrize("seed", range(12))
def test_a_transposed_convolution_is_the_adjoint(seed):
    """<conv(x), g> = <x, conv_transpose(g)>, where output_padding makes the sizes meet."""
    rng = np.random.default_rng(100 + seed)
    axes, x, w, _, options = drawn(rng)
    z = CONV[axes](x, w, **options)
    g = rng.normal(size=z.shape)
    short = TRANSPOSE[axes](g, w, **options).shape
    back = TRANSPOSE[axes](g, w, output_padding=tuple([a - b for a, b in zip(x.shape[2:], short[2:])]), **options)
    assert back.shape == x.shape
    np.testing.assert_allclose((z.data * g).sum(), (x * back.data).sum(), rtol=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_torch_agrees_on_transposed_ones(seed, torch):
    rng = np.random.default_rng(seed)
    axes, x, w, b, options = drawn(rng, transposed=True)
    extra = tuple([int(rng.integers(0, max(s, d))) for s, d in zip(options["stride"], options["dilation"])])
    ours, theirs = leaves(x, w, b), [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    z = TRANSPOSE[axes](*ours, output_padding=extra, **options)
    t = getattr(torch.nn.functional, f"conv_transpose{axes}d")(*theirs, output_padding=extra, **options)
    g = rng.normal(size=z.shape)
    z.backward(g), t.backward(torch.tensor(g))
    np.testing.assert_allclose(z.data, t.detach().numpy(), rtol=1e-10, atol=1e-12)
    for a, c in zip(ours, theirs):
        np.testing.assert_allclose(a.grad, c.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("block", [1, 500])
def test_images_by_the_block_change_nothing(seed, block, monkeypatch):
    axes, x, w, b, options = drawn(np.random.default_rng(seed))
    x = np.concatenate([x] * 3)
    results = []
    for size in (convolution.BLOCK, block):
        monkeypatch.setattr(convolution, "BLOCK", size)
        xs = leaves(x, w, b)
        z = CONV[axes](*xs, **options)
        z.backward(np.cos(np.arange(z.size)).reshape(z.shape))
        results.append([z.data, *[v.grad for v in xs]])
    for a, c in zip(*results):
        np.testing.assert_allclose(a, c, rtol=1e-12, atol=1e-12)


LAYOUTS = dict(fortran=np.asfortranarray, reversed=lambda x: x[..., ::-1].copy()[..., ::-1], every_second=lambda x: np.repeat(x, 2, axis=1)[:, ::2])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_change_nothing(layout):
    axes, x, w, b, options = drawn(np.random.default_rng(3))
    results = []
    for x, w in ((x, w), (LAYOUTS[layout](x), LAYOUTS[layout](w))):
        xs = leaves(x, w, b)
        z = CONV[axes](*xs, **options)
        z.backward(LAYOUTS[layout](np.cos(np.arange(z.size)).reshape(z.shape)))
        results.append([z.data, *[v.grad for v in xs]])
    for a, c in zip(*results):
        np.testing.assert_allclose(a, c, rtol=1e-12, atol=1e-12)


def test_only_what_is_tracked_gets_a_gradient():
    axes, x, w, b, options = drawn(np.random.default_rng(5))
    whole = leaves(x, w, b)
    CONV[axes](*whole, **options).sum().backward()
    for i in range(3):
        inputs = [Tensor(a, requires_grad=i == j) for j, a in enumerate((x, w, b))]
        CONV[axes](*inputs, **options).sum().backward()
        assert [t.grad is not None for t in inputs] == [i == j for j in range(3)]
        assert np.array_equal(inputs[i].grad, whole[i].grad)


def test_one_image_without_a_batch():
    rng = np.random.default_rng(0)
    for axes, size in ((1, (7,)), (2, (5, 4))):
        x, w, v = rng.normal(size=(3, *size)), rng.normal(size=(4, 3, *[2] * axes)), rng.normal(size=(3, 4, *[2] * axes))
        assert np.array_equal(CONV[axes](x, w).data, CONV[axes](x[None], w).data[0])
        assert np.array_equal(TRANSPOSE[axes](x, v).data, TRANSPOSE[axes](x[None], v).data[0])


def test_an_empty_batch():
    for axes, size in ((1, (7,)), (2, (5, 4))):
        for function, shape in ((CONV, (4, 3)), (TRANSPOSE, (3, 4))):
            x, w, b = leaves(np.ones((0, 3, *size)), np.ones((*shape, *[2] * axes)), np.ones(4))
            z = function[axes](x, w, b)
            assert z.shape[:2] == (0, 4)
            z.sum().backward()
            assert x.grad.shape == x.shape and not w.grad.any() and not b.grad.any()


@pytest.mark.parametrize("mode, numpy_mode", [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
def test_padding_modes_are_numpys(mode, numpy_mode):
    rng = np.random.default_rng(0)
    for shape, pads in [((5,), [(2, 3)]), ((2, 3, 4), [(1, 0), (0, 3)]), ((2, 4), [(0, 0)]), ((0, 3), [(1, 2)])]:
        x = rng.normal(size=shape)
        whole = [(0, 0)] * (x.ndim - len(pads)) + pads
        assert np.array_equal(convolution.extend(Tensor(x), pads, mode).data, np.pad(x, whole, numpy_mode))
        assert tg.gradcheck(lambda x: convolution.extend(x, pads, mode) ** 2, [x], order=2)


def test_an_even_kernel_pads_one_more_after_than_before():
    x = np.array([[1.0, 2.0, 3.0]])
    assert F.conv1d(x, np.array([[[0.0, 1.0]]]), padding="same").data.tolist() == [[2.0, 3.0, 0.0]]
    assert F.conv1d(x, np.array([[[1.0, 0.0, 0.0, 0.0]]]), padding="same").data.tolist() == [[0.0, 1.0, 2.0]]


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("kernel, dilation", [(1, 1), (2, 1), (3, 2), (4, 1)])
def test_same_keeps_the_length(mode, kernel, dilation):
    x = Tensor(np.ones((2, 4, 9), "f"))
    assert nn.Conv1d(4, 2, kernel, padding="same", dilation=dilation, padding_mode=mode)(x).shape == (2, 2, 9)


# --- layers
@pytest.mark.parametrize("make, shape", [(lambda: nn.Conv1d(20, 30, 5, groups=2), (30, 10, 5)),
                                         (lambda: nn.Conv2d(20, 30, (3, 4)), (30, 20, 3, 4)),
                                         (lambda: nn.ConvTranspose1d(20, 30, 5, groups=2), (20, 15, 5)),
                                         (lambda: nn.ConvTranspose2d(20, 30, 3), (20, 30, 3, 3))])
def test_layers_start_as_in_torch(make, shape):
    tg.seed(0)
    layer = make()
    assert layer.weight.shape == shape and layer.bias.shape == (30,) and layer.weight.dtype == np.float32
    bound = np.prod(shape[1:]) ** -0.5
    for p in layer.parameters():
        assert 0.9 * bound < np.abs(p.data).max() <= bound and abs(p.data.mean()) < 0.3 * bound


def test_layers_keep_their_options():
    conv = nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), dilation=1, groups=2, bias=False, padding_mode="circular")
    assert (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.bias) == ((3, 2), (2, 2), (1, 0), (1, 1), 2, None)
    assert repr(conv) == ("Conv2d(4, 6, kernel_size=(3, 2), stride=(2, 2), padding=(1, 0), dilation=(1, 1), groups=2, bias=False, "
                          "padding_mode='circular')")
    assert list(conv.state_dict()) == ["weight"] and list(nn.ConvTranspose1d(1, 1, 1).state_dict()) == ["weight", "bias"]


def test_a_small_net_learns_where_the_edge_is():
    """Rows or columns of images at an unknown place: what a linear layer cannot tell, a convolution and a maximum can."""
    tg.seed(0)
    rng = np.random.default_rng(0)
    x, y = np.zeros((60, 1, 8, 8), "f"), rng.integers(0, 2, 60)
    for image, kind, at in zip(x, y, rng.integers(0, 8, 60)):
        (image[0] if kind else image[0].T)[at] = 1
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    opt = tg.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(60):
        loss = tg.losses.cross_entropy(net(Tensor(x)), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    assert loss.item() < 0.1 and (net(Tensor(x)).argmax(axis=1) == y).all()


# --- a stride larger than the kernel
def test_gaps_are_warned_about_once():
    convolution.warn_of_gaps.cache_clear()
    x = Tensor(np.ones((1, 1, 20), "f"))
    conv, pool = nn.Conv1d(1, 1, 2, stride=3, dilation=2), nn.MaxPool1d(2, stride=5)
    with pytest.warns(UserWarning, match=r"conv1d: the stride \(3,\) is larger than the kernel \(2,\): numbers between the windows are never"):
        conv(x)
    with pytest.warns(UserWarning, match=r"max_pool1d: the stride \(5,\) is larger than the kernel \(2,\)"):
        pool(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conv(x), pool(x)
        nn.Conv1d(1, 1, 2, stride=2, dilation=5)(x), nn.MaxPool1d(3)(x)


def test_a_stride_larger_than_the_kernel_leaves_numbers_out():
    """Whatever the dilation: a kernel of k places meets at most k of every s numbers. And a smaller stride may meet them all."""
    for kernel, dilation, stride in product((1, 2, 3), (1, 2, 3), (1, 2, 3, 4)):
        x = Tensor(np.ones((1, 1, 60)), requires_grad=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            convolution.warn_of_gaps.cache_clear()
            F.conv1d(x, np.ones((1, 1, kernel)), stride=stride, dilation=dilation).sum().backward()
        assert bool(caught) == (stride > kernel)
        assert stride <= kernel or (x.grad[..., 20:40] == 0).any()


# --- what is refused
ONES = Tensor(np.ones((2, 4, 5), "f"))
IMAGES = Tensor(np.ones((2, 4, 5, 6), "f"))
BAD = [
    (lambda: nn.Conv1d(4, 2, 6)(ONES), ValueError, "conv1d: a kernel of 6 places is 6 wide, the input with its padding only 5: use a smaller"),
    (lambda: nn.Conv1d(4, 2, 3, dilation=3, padding=0)(ONES), ValueError, "a kernel of 3 places, dilated by 3, is 7 wide, the input with its padding only 5"),
    (lambda: nn.Conv2d(4, 2, (2, 9), padding=1)(IMAGES), ValueError, "conv2d: a kernel of 9 places is 9 wide, the input with its padding only 8"),
    (lambda: nn.Conv1d(4, 2, 1)(Tensor(np.ones((2, 4, 0), "f"))), ValueError, "is 1 wide, the input with its padding only 0"),
    (lambda: nn.Conv1d(3, 2, 2)(ONES), ValueError, r"conv1d: got an input of 4 channels, expected 3, for a weight of shape \(2, 3, 2\) and 1 group"),
    (lambda: nn.ConvTranspose1d(3, 2, 2)(ONES), ValueError, "conv_transpose1d: got an input of 4 channels, expected 3"),
    (lambda: nn.Conv1d(4, 2, 2)(IMAGES), ValueError, r"conv1d: got an input of shape \(2, 4, 5, 6\), expected \(N, C, L\) or \(C, L\)"),
    (lambda: nn.Conv2d(4, 2, 2)(Tensor(np.ones(3, "f"))), ValueError, r"conv2d: got an input of shape \(3,\), expected \(N, C, H, W\) or \(C, H, W\)"),
    (lambda: nn.Conv1d(4, 2, 2).double()(ONES), TypeError, r"conv1d: the input is float32, the weight float64: use x.astype\('float64'\)"),
    (lambda: F.conv1d(ONES, np.ones((4, 2)), ), ValueError, r"got a weight of shape \(4, 2\), expected 3 axes"),
    (lambda: F.conv1d(ONES, np.ones((3, 2, 1), "f"), groups=2), ValueError, "first axis does not divide into 2 groups"),
    (lambda: F.conv1d(ONES, np.ones((2, 4, 1), "f"), np.ones(3, "f")), ValueError, r"got a bias of shape \(3,\), expected \(2,\)"),
    (lambda: F.conv1d(ONES, np.ones((2, 4, 1), "f"), stride=0), ValueError, "stride: got 0, expected an integer >= 1"),
    (lambda: F.conv1d(ONES, np.ones((2, 4, 1), "f"), groups=0), ValueError, "groups: got 0, expected an integer >= 1"),
    (lambda: F.conv2d(IMAGES, np.ones((2, 4, 1, 1), "f"), padding=(1, 2, 3)), ValueError, r"padding: got \(1, 2, 3\), expected an integer >= 0, or 2 of them"),
    (lambda: nn.Conv1d(4, 2, 2.0), ValueError, "Conv1d: kernel_size: got 2.0, expected an integer >= 1"),
    (lambda: nn.Conv1d(4, 2, 2, dilation=-1), ValueError, "dilation: got -1"),
    (lambda: nn.Conv1d(4, 2, 2, padding=-1), ValueError, "Conv1d: padding: got -1, expected an integer >= 0"),
    (lambda: nn.Conv1d(4, 2, 2, padding="full"), ValueError, "padding: got 'full', expected 'same', 'valid' or numbers"),
    (lambda: nn.Conv1d(4, 2, 2, stride=2, padding="same"), ValueError, r"padding='same' needs a stride of 1, got \(2,\)"),
    (lambda: nn.Conv1d(4, 2, 2, padding_mode="mirror"), ValueError, "padding_mode: got 'mirror', expected 'zeros', 'reflect', 'replicate', 'circular'"),
    (lambda: nn.Conv1d(4, 3, 2, groups=2), ValueError, "got in_channels=4, out_channels=3, groups=2"),
    (lambda: nn.Conv2d(0, 3, 2), ValueError, "got in_channels=0"),
    (lambda: nn.Conv1d(4, 2, 2, padding=5, padding_mode="reflect")(ONES), ValueError, "a padding of 5 in mode 'reflect' needs a longer axis than 5"),
    (lambda: nn.Conv1d(4, 2, 2, padding=6, padding_mode="circular")(ONES), ValueError, "a padding of 6 in mode 'circular' needs a longer axis than 5"),
    (lambda: nn.ConvTranspose1d(4, 2, 2, stride=2, output_padding=2)(ONES), ValueError, r"output_padding: got \(2,\), expected less than the stride \(2,\)"),
    (lambda: nn.ConvTranspose1d(4, 2, 1, padding=3)(ONES), ValueError, r"the output would have sizes \(-1,\)"),
    (lambda: nn.ConvTranspose1d(4, 2, 2, padding="same"), ValueError, "ConvTranspose1d: got padding='same'"),
    (lambda: nn.ConvTranspose2d(4, 2, 2, padding_mode="reflect"), ValueError, "ConvTranspose2d: got padding=0, padding_mode='reflect'"),
    (lambda: convolution.extend(ONES, [(1, 1)], "mirror"), ValueError, "extend: mode: got 'mirror', expected 'reflect', 'replicate', 'circular'"),
]


@pytest.mark.parametrize("call, kind, message", BAD, ids=[re.sub(r"\W+", "-", m)[:60] for _, _, m in BAD])
def test_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
