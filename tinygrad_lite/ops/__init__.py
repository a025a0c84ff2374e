"""Every differentiable operation. A file per family; the value and its gradient rules stand side by side.

Rules are written once, in NumPy's spelling: they serve arrays in an ordinary pass and Tensors in a
create_graph pass. Importing this package fastens operators and methods to Tensor.
"""
from . import activations, elementwise, indexing, linalg, numpy_functions, reductions, shapes
