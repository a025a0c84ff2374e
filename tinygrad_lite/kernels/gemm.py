"""A matrix product for use inside of loops. For the small ones of a recurrent step BLAS takes twice as long as this.

The right factor is laid out once in panels, 64 bytes wide. Then four rows of the left one go down a panel side by side,
and their eight sums stay in vector registers: each number loaded is used four times. Goto & van de Geijn 2008.
"""
import functools

import numpy as np

WIDTH = 64              # bytes of a panel's row: two vectors of AVX2, one of AVX-512, four of NEON


def panels(b):
    """The columns of b (K, N) in groups: (groups, K, columns of a group), filled up with zeros."""
    width = WIDTH // b.itemsize
    groups = -(-b.shape[1] // width)
    p = np.zeros((groups, b.shape[0], width), b.dtype)
    for k in range(b.shape[0]):
        for j in range(b.shape[1]):
            p[j // width, k, j % width] = b[k, j]
    return p


def multiply(a, p, c):
    """c[:rows] = a b for a (rows, K) and p = panels(b). c has all columns of the panels: zeros where b ends."""
    width = p.shape[2]
    for i in range(a.shape[0]):
        for q in range(p.shape[0]):
            row = c[i, q * width:(q + 1) * width]
            row[:] = 0
            for k in range(p.shape[1]):
                for j in range(width):
                    row[j] += a[i, k] * p[q, k, j]


def room(states, p):
    """Space for a product with p of as many rows as there are states."""
    return np.empty((states.shape[0], p.shape[0] * p.shape[2]), states.dtype)


@functools.cache
def tile(rows):
    """What a compiled loop calls for c (rows, a panel's width) = a (rows, depth) panel: addresses, bytes from row to row.

    Written in LLVM's own language, because loops do not say that sums shall stay in registers.
    """
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic
    whole = ir.IntType(64)

    def build(context, builder, signature, args):
        a, panel, c, a_step, c_step, depth, like = args
        number = context.get_value_type(signature.args[6])
        size = context.get_abi_sizeof(number)
        lanes = WIDTH // 2 // size
        vector = ir.VectorType(number, lanes)
        spread = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        nothing, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3),
                                             f"llvm.fma.v{lanes}f{8 * size}")

        def place(kind, address, *steps):               # address + the sum of count * bytes
            for count, bytes_ in steps:
                address = builder.add(address, builder.mul(count, bytes_))
            return builder.inttoptr(address, kind.as_pointer())

        def const(n):
            return ir.Constant(whole, n)
        before, down, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(down)
        builder.position_at_end(down)
        k = builder.phi(whole)
        sums = {(i, j): builder.phi(vector) for i in range(rows) for j in (0, 1)}
        b = [builder.load(place(vector, panel, (k, const(WIDTH)), (const(j), const(WIDTH // 2))), align=size) for j in (0, 1)]
        new = {}
        for i in range(rows):
            x = builder.load(place(number, a, (k, const(size)), (const(i), a_step)), align=size)
            x = builder.shuffle_vector(builder.insert_element(nothing, x, first), nothing, spread)
            for j in (0, 1):
                new[i, j] = builder.call(fma, [x, b[j], sums[i, j]])
        one_down = builder.add(k, const(1))
        for phi, start, then in [(k, const(0), one_down)] + [(s, ir.Constant(vector, [0.0] * lanes), new[at]) for at, s in sums.items()]:
            phi.add_incoming(start, before)
            phi.add_incoming(then, down)
        builder.cbranch(builder.icmp_signed("<", one_down, depth), down, after)
        builder.position_at_end(after)
        for (i, j), s in new.items():
            builder.store(s, place(vector, c, (const(i), c_step), (const(j), const(WIDTH // 2))), align=size)
        return context.get_dummy_value()

    @intrinsic
    def call(typing, a, panel, c, a_step, c_step, depth, like):
        return types.void(*[types.int64] * 6, like), build
    return call


@functools.cache
def register():
    """Tell numba what stands for these functions in a loop; without fused multiply-add it is the lines above."""
    from llvmlite.binding import get_host_cpu_features
    from numba.extending import overload
    overload(panels)(lambda b: panels)
    overload(room)(lambda states, p: room)
    if not get_host_cpu_features().get("fma"):
        overload(multiply)(lambda a, p, c: multiply)
        return
    four, one = tile(4), tile(1)

    @overload(multiply)
    def _(a, p, c):
        def fast(a, p, c):
            groups, depth, width = p.shape
            x, panel, y, step, rows, zero = a.ctypes.data, p.ctypes.data, c.ctypes.data, c.strides[0], len(a), p.dtype.type(0)
            for _ in range(groups):
                i = 0
                while i + 4 <= rows:
                    four(x + i * a.strides[0], panel, y + i * step, a.strides[0], step, depth, zero)
                    i += 4
                while i < rows:
                    one(x + i * a.strides[0], panel, y + i * step, a.strides[0], step, depth, zero)
                    i += 1
                panel += depth * WIDTH
                y += WIDTH
        return fast
