"""Module: a tree of layers that knows its parameters by name."""
import numpy as np

from .. import backend
from ..rowsparse import RowSparse
from ..tensor import Tensor, plain


class Parameter(Tensor):
    """A Tensor that a module trains: requires_grad is on, and it may carry a name.

    >>> Parameter([1.0, 2.0], name="w").requires_grad
    True
    """

    def __init__(self, data, name=None, requires_grad=True):
        super().__init__(data, requires_grad)
        self.name = name


class Module:
    """Base of all layers. Parameters, buffers and modules set as attributes are found by name, as in PyTorch.

    A subclass sets them in __init__ and writes forward(). Arrays registered with register_buffer are saved
    but not trained (running statistics).

    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.w = Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.w
    >>> m = Scale()
    >>> m(Tensor([3.0])), [name for name, _ in m.named_parameters()]
    (Tensor([6.], dtype=float32, op=mul), ['w'])
    """
    training = True

    def forward(self, *inputs):
        raise TypeError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *inputs, **options):
        return self.forward(*inputs, **options)

    def register_buffer(self, name, array, persistent=True):
        """An array that belongs to the state but is not trained; None is a buffer that is off."""
        self.__dict__.setdefault("_buffers", {})[name] = persistent
        setattr(self, name, array)

    # --- the tree
    def _members(self):
        """(name, Module, Parameter or buffer) of everything set on this module itself; lists and dicts are searched too."""
        buffers = self.__dict__.get("_buffers", {})
        for name, value in self.__dict__.items():
            if name in buffers:
                yield name, value
            else:
                yield from found_in(value, name)

    def named_children(self):
        return ((name, value) for name, value in self._members() if isinstance(value, Module))

    def _tree(self, prefix=""):
        """(dotted name of a module, module) for this one and all below it; what is used in two places comes twice."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child._tree(join(prefix, name))

    def named_modules(self):
        return once(self._tree())

    def modules(self):
        return (m for _, m in self.named_modules())

    def named_parameters(self):
        """(name, Parameter) pairs; one that is used in two places comes once, under its first name."""
        return once((join(prefix, name), value) for prefix, module in self._tree()
                    for name, value in module._members() if isinstance(value, Parameter))

    def parameters(self):
        return (p for _, p in self.named_parameters())

    def named_buffers(self):
        return once((join(prefix, name), getattr(module, name)) for prefix, module in self._tree()
                    for name in module.__dict__.get("_buffers", {}) if getattr(module, name) is not None)

    def apply(self, function):
        """Call function(module) on every module, the outermost last."""
        for m in reversed(list(self.modules())):
            function(m)
        return self

    # --- modes
    def train(self, mode=True):
        for m in self.modules():
            m.training = bool(mode)
        return self

    def eval(self):
        return self.train(False)

    def requires_grad_(self, flag=True):
        """Freeze (False) or thaw all parameters."""
        for p in self.parameters():
            p.requires_grad = flag
            if not flag:
                p.grad = None
        return self

    def zero_grad(self):
        for p in self.parameters():
            p.grad = None

    # --- state
    def _saved(self):
        """{name: array} of all that is saved, the arrays themselves; shared parameters under every name."""
        arrays = {}
        for prefix, module in self._tree():
            persistent = module.__dict__.get("_buffers", {})
            for name, value in module._members():
                if isinstance(value, Parameter) or persistent.get(name) and value is not None:
                    arrays[join(prefix, name)] = plain(value)
        return arrays

    def state_dict(self):
        """{name: array}, copies that later training does not change."""
        return {name: np.array(backend.to_host(array)) for name, array in self._saved().items()}

    def load_state_dict(self, state, strict=True):
        """Copy arrays in by name, in the module's own dtype. `strict`: names must match exactly; shapes always must.

        Nothing changes if anything does not fit. A num_batches_tracked may be missing, and is ignored where a
        module does not keep one. Returns (missing, unexpected).
        """
        mine = self._saved()
        missing = [k for k in mine if k not in state and not k.endswith("num_batches_tracked")]
        unexpected = [k for k in state if k not in mine and not k.endswith("num_batches_tracked")]
        if strict and (missing or unexpected):
            raise ValueError(f"load_state_dict: missing: {missing}, unexpected: {unexpected} (strict=False loads what fits)")
        new = {k: backend.to_host(plain(state[k])) for k in mine if k in state}
        for k, array in new.items():
            if array.shape != mine[k].shape or array.dtype.kind not in "fiub":
                raise ValueError(f"load_state_dict: {k}: got {array.dtype}{list(array.shape)}, expected "
                                 f"{mine[k].dtype}{list(mine[k].shape)}")
        new = {k: backend.like(mine[k], array) for k, array in new.items()}
        for k, array in new.items():
            mine[k][...] = array
        return missing, unexpected

    def _convert(self, function):
        """Replace every parameter, gradient and buffer by function(array), or none of them if one fails."""
        def of(g):
            if isinstance(g, RowSparse):
                return RowSparse(function(g.indices), function(g.values), g.shape)
            return g if g is None else function(g)
        new = [(p, function(p.data), of(p.grad)) for p in self.parameters()]
        buffers = [(m, name, of(getattr(m, name))) for m in self.modules() for name in m.__dict__.get("_buffers", {})]
        for p, data, grad in new:
            p.grad = None
            p.data, p.grad = data, grad
        for m, name, array in buffers:
            setattr(m, name, array)
        return self

    def double(self):
        """All parameters and float buffers to float64."""
        return self._convert(lambda a: a.astype(np.float64) if a.dtype.kind == "f" else a)

    def float(self):
        """All parameters and float buffers to float32."""
        return self._convert(lambda a: a.astype(np.float32) if a.dtype.kind == "f" else a)

    def to(self, device):
        """Move to "cuda" or "cpu": all parameters, gradients and buffers, or none where there is no GPU or no room on it.

        An optimizer keeps the Parameters, whose arrays are new ones: it goes on where they are.
        """
        backend.checked(device)
        return self._convert(lambda a: backend.to_device(a, device))

    def extra_repr(self):
        return ""

    def __repr__(self):
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        body = "\n  " + "\n  ".join(children) + "\n" if children else self.extra_repr()
        return f"{type(self).__name__}({body})"


def found_in(value, name):
    """(name, value) of the Modules and Parameters in an attribute, at any depth of lists, tuples and dicts."""
    if isinstance(value, (Module, Parameter)):
        yield name, value
    elif isinstance(value, (list, tuple, dict)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from found_in(item, f"{name}.{key}")


def once(pairs):
    """(name, value) pairs without those whose value came before."""
    seen = set()
    for name, value in pairs:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def join(prefix, name):
    return f"{prefix}.{name}" if prefix else name


class Sequential(Module):
    """Modules one after the other, or a dict of them by name.

    >>> Sequential(lambda_layer := Module(), Module())[0] is lambda_layer
    True
    """

    def __init__(self, *modules):
        named = modules[0] if len(modules) == 1 and isinstance(modules[0], dict) else {str(i): m for i, m in enumerate(modules)}
        self.__dict__.update(named)
        self._names = list(named)

    def forward(self, x):
        for name in self._names:
            x = self.__dict__[name](x)
        return x

    def __iter__(self): return (self.__dict__[name] for name in self._names)
    def __len__(self): return len(self._names)

    def __getitem__(self, i):
        return Sequential(*list(self)[i]) if isinstance(i, slice) else self.__dict__[self._names[i]]


class ModuleList(Module):
    """A list of modules whose parameters are found.

    >>> len(ModuleList([Module(), Module()]))
    2
    """

    def __init__(self, modules=()):
        self._names = []
        for m in modules:
            self.append(m)

    def append(self, module):
        self._names.append(str(len(self._names)))
        self.__dict__[self._names[-1]] = module
        return self

    def __iter__(self): return (self.__dict__[name] for name in self._names)
    def __len__(self): return len(self._names)
    def __getitem__(self, i): return self.__dict__[self._names[i]]
