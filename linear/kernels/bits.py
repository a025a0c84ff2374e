"""What numba does not offer: pointers, and three machine instructions, the unaligned load of 8 bytes, the count of trailing
zero bits, and the prefetch of memory that will be read soon.

A pointer is indexed like the array it was taken from. Passing it on costs nothing, while every array passed to a function
is counted (an atomic instruction, dozens of them a line, half of all time), and its indices are looked at for being negative.
"""
import sys

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def pointer(typing, array):
    """Where the numbers of a contiguous array stand; somebody else has to keep the array alive."""
    def generate(context, builder, signature, args):
        return context.make_array(signature.args[0])(context, builder, args[0]).data
    return types.CPointer(array.dtype)(array), generate


@intrinsic
def load64(typing, text, index):
    """The 8 bytes from text[index] on, as a little-endian number; the caller knows that they are there."""
    def generate(context, builder, signature, args):
        where = builder.bitcast(builder.gep(args[0], [args[1]]), ir.IntType(64).as_pointer())
        word = builder.load(where, align=1)
        return builder.bswap(word) if sys.byteorder == "big" else word
    return types.uint64(text, types.intp), generate


@intrinsic
def load_real(typing, text, index):
    """The 8 bytes from text[index] on, as a float64 of this machine."""
    def generate(context, builder, signature, args):
        where = builder.bitcast(builder.gep(args[0], [args[1]]), ir.DoubleType().as_pointer())
        return builder.load(where, align=1)
    return types.float64(text, types.intp), generate


@intrinsic
def trailing_zeros(typing, word):
    """How many zero bits stand below the lowest one bit of a uint64 that is not 0."""
    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))
    return types.uint64(types.uint64), generate


@intrinsic
def prefetch(typing, numbers, index):
    """Ask for the cache line of numbers[index], to be read and written; nothing else happens, even past the end."""
    def generate(context, builder, signature, args):
        where = builder.bitcast(builder.gep(args[0], [args[1]]), cgutils.voidptr_t)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        call = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], kind)
        builder.call(call, [where, number(1), number(3), number(1)])
        return context.get_dummy_value()
    return types.void(numbers, types.intp), generate
