"""Module: a tree of layers that knows its parameters by name."""
import numpy as np

from .. import backend
from ..tensor import Tensor


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
    def named_children(self):
        for name, value in self.__dict__.items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, (list, tuple)):
                yield from ((f"{name}.{i}", v) for i, v in enumerate(value) if isinstance(v, Module))

    def named_modules(self, prefix=""):
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self):
        return (m for _, m in self.named_modules())

    def named_parameters(self):
        """(name, Parameter) pairs; one that is used in two places comes once, under its first name."""
        seen = set()
        for prefix, module in self.named_modules():
            for name, value in module.__dict__.items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{prefix}.{name}" if prefix else name, value

    def parameters(self):
        return (p for _, p in self.named_parameters())

    def named_buffers(self):
        for prefix, module in self.named_modules():
            for name, persistent in module.__dict__.get("_buffers", {}).items():
                if getattr(module, name) is not None:
                    yield f"{prefix}.{name}" if prefix else name, getattr(module, name)

    def apply(self, function):
        """Call function(module) on every module, the innermost first."""
        for _, child in self.named_children():
            child.apply(function)
        function(self)
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
    def _slots(self):
        """name -> (module, attribute) of all that is saved, shared parameters under every name."""
        found = {}
        for prefix, module in self.named_modules():
            for name, value in module.__dict__.items():
                if isinstance(value, Parameter) or module.__dict__.get("_buffers", {}).get(name) and value is not None:
                    found[f"{prefix}.{name}" if prefix else name] = module, name
        return found

    def state_dict(self):
        """{name: array}, copies that later training does not change."""
        return {name: np.array(backend.to_host(getattr(getattr(m, a), "data", None) if isinstance(getattr(m, a), Parameter)
                                               else getattr(m, a))) for name, (m, a) in self._slots().items()}

    def load_state_dict(self, state, strict=True):
        """Copy arrays in by name, in the module's own dtype. `strict`: names must match exactly; shapes always must.

        Nothing changes if anything does not fit. PyTorch's num_batches_tracked is accepted and ignored where
        a module does not keep it. Returns (missing, unexpected).
        """
        slots = self._slots()
        missing = [k for k in slots if k not in state]
        unexpected = [k for k in state if k not in slots and not k.endswith("num_batches_tracked")]
        missing = [k for k in missing if not k.endswith("num_batches_tracked")]
        if strict and (missing or unexpected):
            raise KeyError(f"load_state_dict: missing: {missing}, unexpected: {unexpected} (strict=False loads what fits)")
        new = {k: np.asarray(v.data if isinstance(v, Tensor) else v) for k, v in state.items() if k in slots}
        for k, array in new.items():
            m, a = slots[k]
            if array.shape != np.shape(plain_of(getattr(m, a))):
                raise ValueError(f"load_state_dict: {k} has shape {array.shape}, expected {np.shape(plain_of(getattr(m, a)))}")
        for k, array in new.items():
            m, a = slots[k]
            target = plain_of(getattr(m, a))
            if isinstance(target, (int, float)):
                setattr(m, a, type(target)(array))
            else:
                target[...] = backend.to_device(array, "cuda") if backend.on_gpu(target) else array
        return missing, unexpected

    def _convert(self, function):
        for p in self.parameters():
            g = p.grad
            p.grad = None
            p.data = function(p.data)
            if g is not None and not hasattr(g, "indices"):
                p.grad = function(g)
        for m in self.modules():
            for name in m.__dict__.get("_buffers", {}):
                if getattr(getattr(m, name), "dtype", np.dtype(int)).kind == "f":
                    setattr(m, name, function(getattr(m, name)))
        return self

    def double(self):
        """All parameters and buffers to float64."""
        return self._convert(lambda a: a.astype(np.float64))

    def float(self):
        """All parameters and buffers to float32."""
        return self._convert(lambda a: a.astype(np.float32))

    def to(self, device):
        """Move to "cuda" or "cpu"."""
        return self._convert(lambda a: backend.to_device(a, device))

    def extra_repr(self):
        return ""

    def __repr__(self):
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        body = "\n  " + "\n  ".join(children) + "\n" if children else self.extra_repr()
        return f"{type(self).__name__}({body})"


def plain_of(value):
    return value.data if isinstance(value, Tensor) else value


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
