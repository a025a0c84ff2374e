"""Three machine instructions that numba does not offer: an unaligned load of 8 bytes, the count of trailing zero bits,
and the prefetch of memory that will be read soon."""
import sys

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def load64(typing, array, index):
    """The 8 bytes of a uint8 array from `index` on, as a little-endian number; the caller knows that they are there."""
    def generate(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        where = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(64).as_pointer())
        word = builder.load(where, align=1)
        return builder.bswap(word) if sys.byteorder == "big" else word
    return types.uint64(array, types.intp), generate


@intrinsic
def trailing_zeros(typing, word):
    """How many zero bits stand below the lowest one bit of a uint64 that is not 0."""
    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))
    return types.uint64(types.uint64), generate


@intrinsic
def prefetch(typing, array, index):
    """Ask for the cache line of array[index], to be read and written; nothing else happens, even past the end."""
    def generate(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        where = builder.bitcast(builder.gep(data, [args[1]]), cgutils.voidptr_t)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        call = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], kind)
        builder.call(call, [where, number(1), number(3), number(1)])
        return context.get_dummy_value()
    return types.void(array, types.intp), generate
