"""Operations that numba has no words for: bits, width of vectors, prefetch, the stack."""
# numba compiles these functions from their source: their types are numba's, not Python's.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@intrinsic
def as_float(context, a):
    """Return the float32 with these bits."""
    return types.float32(types.int32), lambda _, builder, __, args: builder.bitcast(
        args[0], ir.FloatType()
    )


@intrinsic
def prefer_wide_vectors(context):
    """Let LLVM use 512-bit vectors in this kernel where the processor has them.

    Its default of 256 bits spares other programs' clock; here it costs a tenth of the speed.
    """

    def generate(context, builder, _, __):
        # llvmlite knows no attributes with values by name; a set of strings it is all the same.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


def _expect(builder, data, index):
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    prefetch = builder.module.declare_intrinsic(
        "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
    )
    place = builder.bitcast(builder.gep(data, [index]), byte)
    builder.call(prefetch, [place, flag(1), flag(3), flag(1)])


@intrinsic
def expect_writes(context, array, start, stop):
    """Ask for the cache lines of array[start:stop], while words are made.

    Memory is then fetched behind the arithmetic: without it, large tensors take half as long again.
    """

    def generate(context, builder, signature, args):
        values = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        line = args[1].type(64 * 8 // signature.args[0].dtype.bitwidth)
        with cgutils.for_range_slice(builder, args[1], args[2], line) as (index, _):
            _expect(builder, values.data, index)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), generate


@intrinsic(prefer_literal=True)
def expect_lanes(context, array, start, count):
    """Ask for the cache lines of a constant number of elements, without a loop."""

    def generate(context, builder, signature, args):
        values = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        line = 64 * 8 // signature.args[0].dtype.bitwidth
        for more in range(0, count.literal_value, line):
            _expect(builder, values.data, builder.add(args[1], args[1].type(more)))
        return context.get_dummy_value()

    return types.void(array, types.int64, count), generate


@intrinsic
def at_address(context, like, address):
    """Return a pointer to an address, of the type of another pointer."""

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[1], context.get_value_type(signature.return_type))

    return like(like, types.uint64), generate


@intrinsic(prefer_literal=True)
def room_for(context, kind, count):
    """Return a pointer to a constant number of elements on the stack.

    The compiler knows that no other pointer leads there.
    """

    def generate(context, builder, signature, args):
        element = context.get_data_type(kind.dtype)
        with builder.goto_entry_block():
            place = builder.alloca(ir.ArrayType(element, count.literal_value))
            place.align = 64
        return builder.bitcast(place, element.as_pointer())

    return types.CPointer(kind.dtype)(kind, count), generate
