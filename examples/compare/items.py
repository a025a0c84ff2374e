"""What is compared: tables of options and inputs, and for each kind one function `run(L, rng, ...) -> [arrays]` of a library.

To compare something new, add its row. Rows may speak of things that tinygrad_lite does not have yet: they wait.
"""
from functools import partial

import numpy as np

DTYPES = "float64", "float32"


# ---------------------------------------------------------------- optimizers: ten steps on parameters of every layout

OPTIMIZERS = {
    "SGD": [dict(lr=0.1), dict(lr=0.05, momentum=0.9, dampening=0.3, weight_decay=0.1),
            dict(lr=0.05, momentum=0.9, nesterov=True, maximize=True), dict(lr=0.1, rows=True)],
    "Adagrad": [dict(lr=0.1), dict(lr=1.0, lr_decay=0.2, initial_accumulator_value=0.5, weight_decay=0.1, eps=0.1),
                dict(lr=0.1, rows=True)],
    "Adadelta": [dict(lr=1.0), dict(lr=2.0, rho=0.8, eps=1e-3, weight_decay=0.1)],
    "RMSprop": [dict(lr=0.01), dict(lr=0.05, alpha=0.9, momentum=0.9, centered=True, eps=0.1, weight_decay=0.1)],
    "Adam": [dict(lr=0.01), dict(lr=0.1, betas=(0.5, 0.9), eps=0.1, weight_decay=0.1, amsgrad=True, maximize=True),
             dict(lr=0.1, weight_decay=0.1, decoupled_weight_decay=True)],
    "AdamW": [dict(lr=0.01), dict(lr=0.1, weight_decay=0.3, amsgrad=True)],
    "Adamax": [dict(lr=0.01), dict(lr=0.1, betas=(0.5, 0.9), eps=0.1, weight_decay=0.1)],
    "NAdam": [dict(lr=0.01), dict(lr=0.1, weight_decay=0.1, momentum_decay=0.1),
              dict(lr=0.1, weight_decay=0.1, decoupled_weight_decay=True)],
    "RAdam": [dict(lr=0.01), dict(lr=0.1, betas=(0.9, 0.9), weight_decay=0.1),
              dict(lr=0.1, weight_decay=0.1, decoupled_weight_decay=True)],
    "Rprop": [dict(lr=0.01), dict(lr=0.1, etas=(0.3, 1.5), step_sizes=(0.05, 0.2))],
    "ASGD": [dict(lr=0.01), dict(lr=0.1, lambd=0.1, alpha=0.5, t0=3, weight_decay=0.1)],
    "Adafactor": [dict(lr=0.01), dict(lr=0.5, beta2_decay=-0.5, eps=(1e-3, 0.1), d=1.5, weight_decay=0.1)],
    "SparseAdam": [dict(lr=0.01, rows=True), dict(lr=0.1, betas=(0.5, 0.9), eps=0.1, rows=True)],
    "Muon": [dict(lr=0.02), dict(lr=0.02, nesterov=False, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")],
    "LBFGS": [dict(lr=0.1), dict(lr=1.0, line_search_fn="strong_wolfe", history_size=5)],
}


def layouts(rng, kind):
    """Parameters of every shape and memory layout. Optimizers keep small ones in a common block: the last is too large for it."""
    strided = rng.normal(size=(6, 8))[::2, ::-2]
    if kind == "Muon":                              # matrices only
        return [rng.normal(size=(3, 4)), np.asfortranarray(rng.normal(size=(5, 3))), strided]
    return [np.asarray(rng.normal()), rng.normal(size=5), rng.normal(size=(3, 4)), np.asfortranarray(rng.normal(size=(4, 3))),
            rng.normal(size=(2, 3, 2)), strided, rng.normal(size=1), rng.normal(size=(91, 100)),
            *[np.empty((0, 3))] * (kind != "Adafactor")]        # whose root mean square of nothing is nan in PyTorch


def optimizer(L, rng, name, lr, rows=False, **options):
    if name == "LBFGS":
        return lbfgs(L, rng, lr, **options)
    params = [L.param(a.astype(L.dtype, order="K")) for a in ([rng.normal(size=(6, 3))] if rows else layouts(rng, name))]
    groups = [{"params": params}] if rows else [{"params": params[:2], "lr": lr / 2}, {"params": params[2:]}]
    opt, _ = L.optimizer(name, groups, lr, **options)
    for t in range(10):
        opt.param_groups[0]["lr"] = lr / (1 + t % 4)            # a reader may write the rate at any time
        for p in params:
            shape = tuple(p.shape)
            g = L.rows(rng.randint(0, 6, 4), rng.normal(size=(4, 3)), shape) if rows else np.asarray(rng.normal(size=shape))
            L.give(p, None if t > 1 and rng.rand() < 0.2 else g)      # without a gradient a parameter stays as it is
        opt.step()
    return [L.array(p) for p in params]


def lbfgs(L, rng, lr, **options):
    """Logistic regression of random labels; PyTorch's path step by step."""
    x, y = L.given(rng.normal(size=(40, 6))), L.given(np.where(rng.rand(40) < 0.5, 1.0, -1.0))
    w, losses = L.param(0.1 * rng.normal(size=6)), []
    opt, _ = L.optimizer("LBFGS", [w], lr, max_iter=4, **options)

    def closure():
        opt.zero_grad()
        loss = L.functional.softplus(-y * (x @ w)).mean() + 0.1 * (w * w).sum()
        loss.backward()
        return loss
    for _ in range(3):
        losses.append(L.array(opt.step(closure)))
    return [*losses, L.array(w)]


# ---------------------------------------------------------------- schedules: rate and momentum at each of 60 steps

SCHEDULES = {           # name: options, drawn anew for each case
    "LambdaLR": lambda r: dict(lr_lambda=partial(pow, r.uniform(0.8, 1))),
    "MultiplicativeLR": lambda r: dict(lr_lambda=lambda t: 1 - 1 / (t + 2)),
    "StepLR": lambda r: dict(step_size=r.randint(1, 20), gamma=r.uniform(0.5, 1.1)),
    "MultiStepLR": lambda r: dict(milestones=r.randint(0, 50, 4).tolist(), gamma=r.uniform(0.5, 1.1)),
    "ConstantLR": lambda r: dict(factor=r.uniform(0.1, 1), total_iters=r.randint(0, 30)),
    "LinearLR": lambda r: dict(start_factor=r.uniform(0.01, 1), end_factor=r.uniform(0, 1), total_iters=r.randint(1, 30)),
    "ExponentialLR": lambda r: dict(gamma=r.uniform(0.8, 1.05)),
    "PolynomialLR": lambda r: dict(total_iters=r.randint(1, 50), power=r.uniform(0.5, 3)),
    "SWALR": lambda r: dict(swa_lr=r.uniform(0.01, 1), anneal_epochs=r.randint(1, 30), anneal_strategy=r.choice(["cos", "linear"])),
    "CosineAnnealingLR": lambda r: dict(T_max=r.randint(1, 40), eta_min=r.uniform(0, 0.01)),
    "CosineAnnealingWarmRestarts": lambda r: dict(T_0=r.randint(2, 9), T_mult=r.randint(1, 4), eta_min=r.uniform(0, 0.01)),
    "CyclicLR": lambda r: dict(base_lr=r.uniform(0.01, 0.1), max_lr=r.uniform(0.1, 1), step_size_up=r.randint(2, 20), gamma=0.97,
                               step_size_down=r.randint(2, 20), mode=r.choice(["triangular", "triangular2", "exp_range"])),
    "OneCycleLR": lambda r: dict(max_lr=r.uniform(0.1, 1), total_steps=61, pct_start=r.uniform(0.1, 0.4), div_factor=r.uniform(2, 30),
                                 three_phase=bool(r.randint(2)), anneal_strategy=r.choice(["cos", "linear"])),
    "SequentialLR": lambda r: dict(children=[("LinearLR", dict(total_iters=9)), ("CosineAnnealingLR", dict(T_max=r.randint(9, 30))),
                                             ("ExponentialLR", dict(gamma=0.9))], milestones=[r.randint(5, 12), r.randint(20, 40)]),
    "ChainedScheduler": lambda r: dict(children=[("LinearLR", dict(total_iters=r.randint(5, 20))), ("ExponentialLR", dict(gamma=0.95)),
                                                 ("StepLR", dict(step_size=r.randint(3, 20)))]),
    "ReduceLROnPlateau": lambda r: dict(metrics=(r.rand(60) + 1 / np.arange(1, 61)).tolist(), patience=r.randint(0, 5), factor=0.5,
                                        mode=r.choice(["min", "max"]), threshold_mode=r.choice(["rel", "abs"]), cooldown=r.randint(3)),
}


def schedule(L, rng, name):
    lr, options = rng.uniform(0.01, 1), {k: str(v) if isinstance(v, np.str_) else v for k, v in SCHEDULES[name](rng).items()}
    if name == "ReduceLROnPlateau":
        return [np.array(L.plateau(lr, **options))]
    return [np.array(L.rates(name, lr, 60, momentum=name in ("CyclicLR", "OneCycleLR"), **options), float)]


# ---------------------------------------------------------------- clips: on gradients of every shape, some missing

CLIPS = {"clip_grad_norm_": [(0.7,), (0.7, 1.0), (1e6,), (0.5, float("inf")), (1.0, 3.0), (0.0,)],
         "clip_grad_value_": [(0.5,), (0.0,), (9.0,)],
         "clip_grad_norm_per_layer_": [(0.7,), (2.0, 1.0)], "adaptive_clip_grad_": [(0.3,), (0.01, 0.5), (9.0,)],
         "normalize_grad_": [()], "centralize_grad_": [()]}


def clip(L, rng, name, *limits):
    arrays = [a for a in layouts(rng, "clip") if a.size or float("inf") not in limits]      # of nothing PyTorch finds no maximum
    params = [L.param(a.astype(L.dtype, order="K")) for a in arrays]
    for i, p in enumerate(params):
        L.give(p, None if i == 1 else np.asarray(rng.normal(size=tuple(p.shape))))
    measured = L.clip(name)(params, *limits)
    returned = [] if name == "clip_grad_value_" else [np.asarray(L.array(measured), float)]      # PyTorch's returns nothing
    return returned + [L.array(p.grad) for p in params if p.grad is not None]


# ---------------------------------------------------------------- losses: value and gradients, in all three reductions

def normal(rng, shape):
    return np.asarray(rng.normal(size=shape))


def inside(rng, shape):
    """Probabilities that are differentiated."""
    return rng.uniform(0.05, 0.95, shape)


class Given:
    """An input that is not differentiated."""
    def __init__(self, draw):
        self.draw = draw


classes = Given(lambda rng, s: rng.randint(0, s[1] if len(s) > 1 else s[0], (s[0], *s[2:]) if len(s) > 1 else ()))
some_ignored = Given(lambda rng, s: np.where(rng.rand(s[0]) < 0.4, -100, rng.randint(0, s[1], s[0])))
probabilities = Given(lambda rng, s: rng.dirichlet(np.ones(s[1]), s[0]))
shares = Given(lambda rng, s: np.asarray(rng.rand(*s)))
sizes = Given(lambda rng, s: rng.poisson(2, s).astype(float))
signs = Given(lambda rng, s: np.where(rng.rand(*s) < 0.5, 1.0, -1.0))
pair_signs = Given(lambda rng, s: np.where(rng.rand(s[0]) < 0.5, 1.0, -1.0))
bits = Given(lambda rng, s: (rng.rand(*s) < 0.5).astype(float))



def label_lists(rng, s):
    """A row of distinct classes, ended by -1."""
    y = np.stack([rng.permutation(s[1]) for _ in range(s[0])])
    return np.where(np.arange(s[1]) < rng.randint(0, s[1] + 1, (s[0], 1)), y, -1)


def some(rng, s):
    """Weights, one a class."""
    return rng.uniform(0.1, 2, s[1] if len(s) > 2 else s[-1])


labels = Given(label_lists)
ANY = [(5, 4), (), (3, 1), (0, 3)]

LOSSES = {              # name: class in nn, inputs, shapes, options
    "cross_entropy": [("CrossEntropyLoss", (normal, classes), [(5, 4), (4,), (1, 1), (6, 3, 2), (70, 130)],
                       [{}, dict(weight=some, label_smoothing=0.2)]),
                      ("CrossEntropyLoss", (normal, some_ignored), [(9, 4)], [{}, dict(weight=some)]),
                      ("CrossEntropyLoss", (normal, probabilities), [(5, 4)], [{}, dict(weight=some, label_smoothing=0.2)])],
    "nll_loss": [("NLLLoss", (normal, classes), [(5, 4), (4,), (6, 3, 2)], [{}, dict(weight=some)]),
                 ("NLLLoss", (normal, some_ignored), [(9, 4)], [{}])],
    "mse_loss": [("MSELoss", (normal, normal), ANY, [{}])],
    "l1_loss": [("L1Loss", (normal, normal), ANY, [{}])],
    "smooth_l1_loss": [("SmoothL1Loss", (normal, normal), ANY, [{}, dict(beta=0.5), dict(beta=0.0)])],
    "huber_loss": [("HuberLoss", (normal, normal), ANY, [{}, dict(delta=0.5)])],
    "binary_cross_entropy": [("BCELoss", (inside, shares), [(5, 4), (3, 1)], [{}, dict(weight=some)])],
    "binary_cross_entropy_with_logits": [("BCEWithLogitsLoss", (normal, shares), [(5, 4), (3, 1)],
                                          [{}, dict(weight=some, pos_weight=some)])],
    "kl_div": [("KLDivLoss", (normal, probabilities), [(5, 4)], [{}]),
               ("KLDivLoss", (normal, Given(normal)), [(5, 4)], [dict(log_target=True)])],
    "hinge_embedding_loss": [("HingeEmbeddingLoss", (normal, signs), [(5, 4), (3,)], [{}, dict(margin=0.3)])],
    "margin_ranking_loss": [("MarginRankingLoss", (normal, normal, signs), [(7,)], [{}, dict(margin=0.5)])],
    "soft_margin_loss": [("SoftMarginLoss", (normal, signs), [(5, 4), (3,)], [{}])],
    "multi_margin_loss": [("MultiMarginLoss", (normal, classes), [(5, 4)], [{}, dict(p=2, margin=0.5), dict(weight=some)])],
    "multilabel_margin_loss": [("MultiLabelMarginLoss", (normal, labels), [(6, 4)], [{}])],
    "multilabel_soft_margin_loss": [("MultiLabelSoftMarginLoss", (normal, bits), [(5, 4)], [{}, dict(weight=some)])],
    "cosine_embedding_loss": [("CosineEmbeddingLoss", (normal, normal, pair_signs), [(6, 3)], [{}, dict(margin=0.2)])],
    "triplet_margin_loss": [("TripletMarginLoss", (normal, normal, normal), [(6, 3)], [{}, dict(margin=0.3, p=1.0), dict(swap=True)])],
    "poisson_nll_loss": [("PoissonNLLLoss", (normal, sizes), [(5, 4)], [{}, dict(full=True)]),
                         ("PoissonNLLLoss", (inside, sizes), [(5, 4)], [dict(log_input=False)])],
    "gaussian_nll_loss": [("GaussianNLLLoss", (normal, normal, inside), [(5, 4)], [{}, dict(full=True)])],
    "ctc_loss": [("CTCLoss", None, [(12, 3, 5)], [{}, dict(blank=2)])],
}


def loss(L, rng, call, inputs, shape, options):
    """`call(L, options)` is the loss: the function, or the layer made with the options."""
    results = []
    options = {k: L.given(v(rng, shape)) if callable(v) else v for k, v in options.items()}
    for reduction in "mean", "sum", "none":
        if inputs is None:
            leaves, args = ctc_inputs(L, rng, *shape, options.get("blank", 0))
        else:
            args = [L.given(i.draw(rng, shape)) if isinstance(i, Given) else L.leaf(i(rng, shape)) for i in inputs]
            leaves = [a for a, i in zip(args, inputs) if not isinstance(i, Given)]
        results += values_and_gradients(L, rng, call(L, {**options, "reduction": reduction})(*args), leaves)
    return results


def ctc_inputs(L, rng, steps, n, k, blank):
    x = L.leaf(rng.normal(size=(steps, n, k)))
    targets = rng.randint(0, k - 1, (n, 4))
    targets += targets >= blank
    return [x], [L.functional.log_softmax(x, 2), L.given(targets), L.given(rng.randint(9, steps + 1, n)), L.given(rng.randint(1, 5, n))]


def values_and_gradients(L, rng, outputs, leaves):
    """The outputs, and what their weighted sum sends back to the leaves."""
    outputs = flat(outputs)
    if not leaves:
        return [L.array(o) for o in outputs]
    total = sum((o * L.given(np.asarray(rng.normal(size=tuple(o.shape))))).sum() for o in outputs)
    total.backward()
    return [L.array(o) for o in outputs] + [L.array(x.grad) for x in leaves if x.grad is not None]


def flat(outputs):
    return [o for part in outputs for o in flat(part)] if isinstance(outputs, (tuple, list)) else [] if outputs is None else [outputs]


# ---------------------------------------------------------------- layers: outputs, gradients and buffers, in training and in use

def ids(high, *shape):
    return Given(lambda rng, _: rng.randint(0, high, shape))


lengths = Given(lambda rng, _: rng.randint(1, 6, 3))        # of the items of (5, 3, ...): what is packed
EVERY = [(2, 5), (), (0, 3)]
LAYERS = {              # name: (arguments, options, inputs): a shape, several, or what draws it
    "Linear": [((5, 3), {}, [(4, 5)]), ((5, 3), {}, [(5,)]), ((5, 3), dict(bias=False), [(2, 3, 5)]), ((5, 3), {}, [(0, 5)])],
    "Highway": [((4, 2), {}, [(3, 4)])],
    "Bilinear": [((3, 4, 2), {}, [(5, 3), (5, 4)]), ((3, 4, 2), dict(bias=False), [(2, 5, 3), (2, 5, 4)])],
    "Embedding": [((7, 3), {}, [ids(7, 4, 2)]), ((7, 3), dict(padding_idx=1, scale_grad_by_freq=True), [ids(7, 9)]),
                  ((7, 3), dict(sparse=True), [ids(7, 9)]), ((7, 3), dict(max_norm=1.0), [ids(7, 4)])],
    "EmbeddingBag": [((7, 3), dict(mode=mode), [ids(7, 4, 5)]) for mode in ("sum", "mean", "max")],
    "LayerNorm": [((4,), {}, [(3, 4)]), (((3, 4),), {}, [(2, 3, 4)]), ((4,), dict(elementwise_affine=False, eps=0.1), [(0, 4)])],
    "RMSNorm": [((4,), {}, [(3, 4)]), (((3, 4),), dict(eps=0.1, elementwise_affine=False), [(2, 3, 4)])],
    "GroupNorm": [((2, 4), {}, [(3, 4, 5)]), ((4, 4), dict(affine=False, eps=0.1), [(2, 4, 3, 2)])],
    "BatchNorm1d": [((4,), {}, [(6, 4)]), ((4,), dict(momentum=None), [(3, 4, 5)]),
                    ((4,), dict(affine=False, track_running_stats=False), [(6, 4)])],
    "BatchNorm2d": [((3,), {}, [(2, 3, 4, 4)]), ((3,), dict(momentum=0.3, eps=0.1, affine=False), [(2, 3, 4, 2)])],
    "Conv1d": [((4, 6, 3), {}, [(2, 4, 9)]), ((4, 6, 3), dict(stride=2, padding=1, dilation=2, groups=2, bias=False), [(2, 4, 12)]),
               ((4, 6, 4), dict(padding="same"), [(4, 9)]), ((4, 6, 3), {}, [(0, 4, 9)]),
               *[((4, 6, 3), dict(padding=2, padding_mode=mode), [(2, 4, 5)]) for mode in ("reflect", "replicate", "circular")]],
    "Conv2d": [((4, 6, 3), {}, [(2, 4, 7, 6)]), ((4, 6, (3, 2)), dict(stride=2, padding=1, groups=2, bias=False), [(2, 4, 7, 6)]),
               ((4, 6, (3, 2)), dict(padding="same", dilation=(1, 3), padding_mode="circular"), [(4, 7, 6)]),
               *[((4, 6, 3), dict(padding=(2, 1), stride=(1, 2), padding_mode=mode), [(2, 4, 5, 4)]) for mode in ("reflect", "replicate")]],
    "ConvTranspose1d": [((4, 6, 3), dict(stride=2, padding=1), [(2, 4, 5)]),
                        ((4, 6, 3), dict(stride=3, output_padding=2, groups=2, dilation=2, bias=False), [(4, 5)])],
    "ConvTranspose2d": [((4, 6, 3), {}, [(2, 4, 5, 4)]),
                        ((4, 6, (3, 2)), dict(stride=(2, 1), padding=(1, 0), output_padding=(1, 0), groups=2, dilation=(1, 2)), [(4, 5, 4)])],
    "MaxPool1d": [((3,), {}, [(2, 4, 9)]), ((3,), dict(stride=2, padding=1, dilation=2, ceil_mode=True, return_indices=True), [(4, 9)])],
    "MaxPool2d": [((2,), {}, [(2, 3, 6, 6)]),
                  (((3, 2),), dict(stride=(2, 1), padding=(1, 0), dilation=(1, 2), ceil_mode=True, return_indices=True), [(3, 6, 5)])],
    "AvgPool1d": [((3,), {}, [(2, 4, 9)]), ((3,), dict(stride=2, padding=1, ceil_mode=True, count_include_pad=False), [(4, 10)])],
    "AvgPool2d": [((2,), {}, [(2, 3, 6, 6)]), (((3, 2),), dict(stride=2, padding=1, ceil_mode=True, count_include_pad=False), [(3, 6, 5)]),
                  ((2,), dict(divisor_override=3), [(2, 3, 6, 6)])],
    "AdaptiveAvgPool1d": [((3,), {}, [(2, 4, 10)]), ((5,), {}, [(4, 3)])], "AdaptiveAvgPool2d": [(((3, None),), {}, [(2, 3, 7, 5)])],
    "AdaptiveMaxPool1d": [((3,), dict(return_indices=True), [(2, 4, 10)])], "AdaptiveMaxPool2d": [(((3, None),), {}, [(2, 3, 7, 5)])],
    **{name: [((4, 3), {}, [(5, 2, 4)]), ((4, 3), {}, [(5, 4)]),
              ((4, 3), dict(num_layers=2, bidirectional=True, batch_first=True), [(2, 5, 4)]), ((4, 9), dict(bias=False), [(5, 3, 4), lengths]),
              ((4, 3), dict(num_layers=2, bidirectional=True), [(5, 3, 4), lengths])] for name in ("RNN", "LSTM", "GRU")},
    **{name: [((4, 3), {}, [(2, 4)])] for name in ("RNNCell", "LSTMCell", "GRUCell")},
    "MultiheadAttention": [((4, 2), {}, [(5, 2, 4), (3, 2, 4), (3, 2, 4)]), ((3, 3), dict(bias=False, batch_first=True), [(2, 5, 3)] * 3)],
    "Dropout": [((0.0,), {}, [(3, 4)])], "Flatten": [((), {}, [(2, 3, 4)]), ((0, 1), {}, [(2, 3, 4)])],
    "Softmax": [((1,), {}, [(2, 5)]), ((0,), {}, [(2, 5)])], "LogSoftmax": [((1,), {}, [(2, 5)])], "GLU": [((), {}, [(2, 6)]), ((0,), {}, [(2, 6)])],
    "LeakyReLU": [((0.3,), {}, [(2, 5)])], "ELU": [((), dict(alpha=0.5), [(2, 5)])], "CELU": [((1.3,), {}, [(2, 5)])],
    "GELU": [((), {}, [(2, 5)]), ((), dict(approximate="tanh"), [(2, 5)])], "Softplus": [((2.0, 5.0), {}, [(2, 5)])],
    "Hardtanh": [((-0.5, 2.0), {}, [(2, 5)])], "Softshrink": [((0.2,), {}, [(2, 5)])], "Hardshrink": [((), dict(lambd=0.2), [(2, 5)])],
    "PReLU": [((), {}, [(2, 5)])], "Threshold": [((0.1, 2.0), {}, [(2, 5)])],
    **{name: [((), {}, [shape]) for shape in EVERY] for name in """Identity ReLU ReLU6 SELU SiLU Mish Sigmoid Tanh Softsign Hardsigmoid
       Hardswish LogSigmoid Tanhshrink""".split()},
}
CONTAINERS = {"Module", "Sequential", "ModuleList", "ModuleDict", "CharCNN",       # the trainings use them; CharCNN: tests/test_charcnn.py
              "CheckFinite"}                                                   # PyTorch has none; it is its input


def layer(L, rng, name, args, options, inputs):
    module, results = L.module(name, *args, **options), []
    L.load(module, weights(L, rng, module))
    for training in True, True, False:              # twice: running statistics move, then they are used
        module.train(training)
        module.zero_grad()
        drawn = [L.given(i.draw(rng, None)) if isinstance(i, Given) else L.leaf(rng.normal(size=i)) for i in inputs]
        leaves = [x for x, i in zip(drawn, inputs) if not isinstance(i, Given)]
        outputs = packed(L, module, drawn[0], L.array(drawn[1]).tolist()) if lengths in inputs else module(*drawn)
        results += values_and_gradients(L, rng, outputs, leaves + [p for _, p in sorted(module.named_parameters())])
    return results + [np.array(a) for _, a in sorted(L.state(module).items())]


def packed(L, module, x, lengths):
    rnn = L.nn.utils.rnn
    output, state = module(rnn.pack_padded_sequence(x, lengths, enforce_sorted=False))
    return rnn.pad_packed_sequence(output)[0], state


def weights(L, rng, module):
    """Drawn weights and buffers, in the order of their names, so that both libraries get the same."""
    drawn = {}
    for k, a in sorted(L.state(module).items()):
        a = np.array(a)
        drawn[k] = np.asarray(rng.normal(size=a.shape), a.dtype) if a.dtype.kind == "f" else a
        drawn[k] = np.abs(drawn[k]) + a.dtype.type(0.1) if k.endswith("running_var") else drawn[k]
    return drawn


# ---------------------------------------------------------------- trainings: real data, the same first weights, the same batches

def digits():
    from sklearn.datasets import load_digits
    x, y = load_digits(return_X_y=True)             # 1797 images of 8 x 8
    return x / 8 - 1, y


def train(L, rng, sizes, name, lr, schedule=None, clip=None, epochs=1, batch=32, **options):
    """The loss at every step, then the weights."""
    x, y = digits()
    layers = [m for a, b in zip(sizes, sizes[1:]) for m in (L.module("Linear", a, b), L.module("Tanh"))][:-1]
    model, losses = L.nn.Sequential(*layers), []
    L.load(model, {k: rng.uniform(-1, 1, a.shape) * (1 / a.shape[-1]) ** 0.5 for k, a in sorted(L.state(model).items())})
    params = list(model.parameters())
    opt, tick = L.optimizer(name, params, lr, schedule=schedule, **options)
    for _ in range(epochs):
        order = rng.permutation(len(x))[:len(x) // batch * batch].reshape(-1, batch)
        for chosen in order:
            images, target = L.given(x[chosen]), L.given(y[chosen])

            def closure():
                opt.zero_grad()
                loss = L.losses.cross_entropy(model(images), target)
                if name == "LBFGS":                 # full batch: a little decay keeps the minimum finite
                    loss = loss + 1e-3 * sum((p * p).sum() for p in params)
                loss.backward()
                if clip:
                    L.clip("clip_grad_norm_")(params, clip)
                return loss
            if name == "LBFGS":
                loss = opt.step(closure)
            else:
                loss = closure()
                opt.step()
            losses.append(float(L.array(loss)))
            tick()
    return [np.array(losses), *[L.array(p) for p in params]]


def babble(rng, words, length):
    """A text in which each word is followed by one of eight."""
    follows, text = rng.randint(0, words, (words, 8)), [0]
    for pick in rng.randint(0, 8, length):
        text.append(follows[text[-1], pick])
    return np.array(text)


def language_model(L, rng, words=120, size=24, streams=8, steps=20, epochs=2):
    """Two LSTM layers, scores by the embedding itself, SGD, gradients clipped at 0.25: the loss at every step, then the weights."""
    embedding, lstm = L.module("Embedding", words, size), L.module("LSTM", size, size, 2)
    for module in embedding, lstm:
        L.load(module, {k: rng.uniform(-0.2, 0.2, a.shape) for k, a in sorted(L.state(module).items())})
    params, losses = [embedding.weight, *lstm.parameters()], []
    opt, tick = L.optimizer("SGD", params, 2.0, schedule=("OneCycleLR", dict(max_lr=8.0, total_steps=20 * epochs + 1)))
    text = babble(rng, words, streams * steps * 20)
    x, y = [text[start:start + len(text) - 1].reshape(streams, -1).T for start in (0, 1)]
    for _ in range(epochs):
        state = None
        for i in range(0, len(x), steps):
            out, state = lstm(embedding(L.given(x[i:i + steps])), state)
            state = tuple(s.detach() for s in state)
            loss = L.losses.cross_entropy(out.reshape(-1, size) @ embedding.weight.T, L.given(y[i:i + steps].reshape(-1)))
            opt.zero_grad()
            loss.backward()
            L.clip("clip_grad_norm_")(params, 0.25)
            opt.step()
            losses.append(float(L.array(loss)))
            tick()
    return [np.array(losses), *[L.array(p) for p in params]]


TRAININGS = {           # name: (what it learns, a module that it needs, how it runs)
    "mlp_sgd_one_cycle": ("digits", "sklearn", partial(
        train, sizes=(64, 32, 10), name="SGD", lr=0.02, momentum=0.95, nesterov=True, epochs=2,
        schedule=("OneCycleLR", dict(max_lr=0.3, total_steps=112)))),
    "mlp_adam_clip_cosine": ("digits", "sklearn", partial(
        train, sizes=(64, 32, 32, 10), name="Adam", lr=0.01, clip=0.5, epochs=2, schedule=("CosineAnnealingLR", dict(T_max=112)))),
    "logistic_lbfgs": ("digits", "sklearn", partial(
        train, sizes=(64, 10), name="LBFGS", lr=1.0, max_iter=2, line_search_fn="strong_wolfe", epochs=20, batch=1797)),
    "lstm_language_model": ("text", "numpy", language_model),
}
