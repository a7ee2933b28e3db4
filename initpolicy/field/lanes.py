"""Vectors, which numba has no type for: one operation on many numbers side by side.

Importing this module imports numba. A kernel that is written in lanes is the same instructions
whatever the compiler thinks of its loops; LLVM splits lanes that are wider than the machine's
registers. Lanes take the operators + - * & | ^ << >>, where a scalar stands for lanes that are all
alike; integers wrap, and >> keeps the sign of signed ones.
"""
# numba compiles these functions from their source: their types are numba's, not Python's.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model


class Lanes(types.Type):
    """As many numbers of a type as `count`."""

    def __init__(self, element: Any, count: int):
        self.element = element
        self.count = count
        super().__init__(f"Lanes({element}, {count})")


def _vector(lanes: Lanes) -> ir.VectorType:
    width = lanes.element.bitwidth
    if isinstance(lanes.element, types.Integer):
        return ir.VectorType(ir.IntType(width), lanes.count)
    return ir.VectorType(ir.FloatType() if width == 32 else ir.DoubleType(), lanes.count)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _vector(fe_type))


def _shuffled(builder, a, b, order):
    """Take the elements of two vectors, one behind the other, in this order."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
    return builder.shuffle_vector(a, b, mask)


def _spread(builder, scalar, vector):
    empty = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
    return _shuffled(builder, first, empty, [0] * vector.count)


def _called(builder, name, result, arguments):
    """Call one of LLVM's own functions."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _lanes_of(context, builder, value, own, lanes):
    """Make lanes of a scalar; leave lanes as they are."""
    if isinstance(own, Lanes):
        return value
    scalar = context.cast(builder, value, types.unliteral(own), lanes.element)
    return _spread(builder, scalar, _vector(lanes))


def _operator(operation: Callable[..., Any], integers: str, floats: str = "") -> None:
    @infer_global(operation)  # pyright: ignore[reportOptionalCall]
    class Operator(AbstractTemplate):
        def generic(self, args, kws):
            a, b = args
            if isinstance(a, Lanes):
                return signature(a, a, b)
            if isinstance(b, Lanes):
                return signature(b, a, b)
            return None

    def lower(context, builder, sig, args):
        lanes = sig.return_type
        a, b = (
            _lanes_of(context, builder, value, own, lanes)
            for value, own in zip(args, sig.args, strict=True)
        )
        name = floats if lanes.element in types.real_domain else integers
        if name == "lshr" and lanes.element in types.signed_domain:
            name = "ashr"
        return getattr(builder, name)(a, b)

    for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(operation, *kinds)(lower)


_operator(operator.add, "add", "fadd")
_operator(operator.sub, "sub", "fsub")
_operator(operator.mul, "mul", "fmul")
_operator(operator.and_, "and_")
_operator(operator.or_, "or_")
_operator(operator.xor, "xor")
_operator(operator.lshift, "shl")
_operator(operator.rshift, "lshr")


@intrinsic(prefer_literal=True)
def numbered(context, count):
    """Return 0, 1, 2 and so on, as unsigned 64-bit integers."""
    lanes = Lanes(types.uint64, count.literal_value)
    return lanes(count), lambda *_: ir.Constant(_vector(lanes), list(range(lanes.count)))


def _address(context, builder, array, index, element):
    """Point to an element of an array, as to a number of another type."""
    data = cgutils.create_struct_proxy(array)(context, builder, index[0]).data
    return builder.bitcast(builder.gep(data, [index[1]]), element.as_pointer())


@intrinsic(prefer_literal=True)
def load(context, array, index, count):
    """Return the elements of an array from an index on."""
    lanes = Lanes(array.dtype, count.literal_value)

    def generate(context, builder, signature, args):
        place = _address(context, builder, array, args, _vector(lanes))
        return builder.load(place, align=array.dtype.bitwidth // 8)

    return lanes(array, types.int64, count), generate


@intrinsic
def store(context, array, index, lanes):
    """Put lanes into an array from an index on, whatever its elements are."""

    def generate(context, builder, signature, args):
        place = _address(context, builder, array, args, _vector(lanes))
        builder.store(args[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, lanes), generate


@intrinsic
def gather(context, table, rows):
    """Return the elements of a table at 32-bit rows within it, unchecked."""
    lanes = Lanes(table.dtype, rows.count)

    def generate(context, builder, signature, args):
        data = cgutils.create_struct_proxy(table)(context, builder, args[0]).data
        vector, all_of = _vector(lanes), ir.VectorType(ir.IntType(1), rows.count)
        # llvmlite has no words for an address of each lane, but LLVM has.
        places = builder.gep(data, [ir.Constant(ir.IntType(32), 0)])
        places.indices, places.type = [args[1]], ir.VectorType(places.type, rows.count)
        pointer = data.type.intrinsic_name
        name = f"llvm.masked.gather.v{rows.count}f{table.dtype.bitwidth}.v{rows.count}{pointer}"
        align = ir.Constant(ir.IntType(32), table.dtype.bitwidth // 8)
        every, none = ir.Constant(all_of, [1] * rows.count), ir.Constant(vector, ir.Undefined)
        return _called(builder, name, vector, [places, align, every, none])

    return lanes(table, rows), generate


def _cast(instruction: str, target: Any) -> Any:
    """Make an operation that gives lanes of another type."""

    @intrinsic
    def cast(context, lanes):
        result = Lanes(target, lanes.count)

        def generate(context, builder, signature, args):
            if _vector(result) == _vector(lanes):
                return args[0]
            return getattr(builder, instruction)(args[0], _vector(result))

        return result(lanes), generate

    return cast


signed = _cast("bitcast", types.int32)  # the same bits, of lanes as wide
signed_64 = _cast("bitcast", types.int64)
as_bits = _cast("bitcast", types.uint32)
as_floats = _cast("bitcast", types.float32)
widened = _cast("zext", types.uint64)  # of unsigned integers
lower_32 = _cast("trunc", types.uint32)
lower_16 = _cast("trunc", types.uint16)
lower_8 = _cast("trunc", types.uint8)
rounded = _cast("sitofp", types.float32)  # signed integers to the nearest float32
doubled = _cast("fpext", types.float64)  # float32


@intrinsic
def fma(context, a, b, c):
    """Return a * b + c, rounded once; some of the three may be scalars."""
    lanes = next(kind for kind in (a, b, c) if isinstance(kind, Lanes))

    def generate(context, builder, signature, args):
        name = f"llvm.fma.v{lanes.count}f{lanes.element.bitwidth}"
        pairs = zip(args, signature.args, strict=True)
        three = [_lanes_of(context, builder, value, own, lanes) for value, own in pairs]
        return _called(builder, name, _vector(lanes), three)

    return lanes(a, b, c), generate


@intrinsic
def clamped(context, a, least, most):
    """Return floats within two scalar bounds."""

    def generate(context, builder, signature, args):
        low, high = (_spread(builder, end, _vector(a)) for end in args[1:])
        raised = builder.select(builder.fcmp_ordered("<", args[0], low), low, args[0])
        return builder.select(builder.fcmp_ordered(">", raised, high), high, raised)

    return a(a, least, most), generate


@intrinsic
def chosen_below(context, a, bound, below, others):
    """Return, lane by lane, one of two: `below` where a signed integer is below a scalar bound."""

    def generate(context, builder, signature, args):
        limit = _lanes_of(context, builder, args[1], bound, a)
        return builder.select(builder.icmp_signed("<", args[0], limit), args[2], args[3])

    return below(a, bound, below, others), generate


@intrinsic
def with_ones(context, lanes):
    """Return integers shifted by one bit to the left, and a one behind them."""

    def generate(context, builder, signature, args):
        vector, name = _vector(lanes), f"llvm.fshl.v{lanes.count}i{lanes.element.bitwidth}"
        ones, by = (ir.Constant(vector, [number] * lanes.count) for number in (-1, 1))
        return _called(builder, name, vector, [args[0], ones, by])

    return lanes(lanes), generate


@intrinsic
def joined(context, lower, upper):
    """Return the lower halves of 64-bit lanes, as lower and upper halves."""

    def generate(context, builder, signature, args):
        halves = ir.VectorType(ir.IntType(32), 2 * lower.count)
        order = [i + side * halves.count for i in range(0, halves.count, 2) for side in (0, 1)]
        a, b = (builder.bitcast(value, halves) for value in args)
        return builder.bitcast(_shuffled(builder, a, b, order), _vector(lower))

    return lower(lower, upper), generate


@intrinsic
def interleaved(context, a, b):
    """Return the 64-bit lanes of both in turn, as unsigned 32-bit ones, lower halves first."""
    result = Lanes(types.uint32, 4 * a.count)

    def generate(context, builder, signature, args):
        order = [i + side * a.count for i in range(a.count) for side in (0, 1)]
        return builder.bitcast(_shuffled(builder, *args, order), _vector(result))

    return result(a, b), generate


@intrinsic(prefer_literal=True)
def part(context, lanes, quarter):
    """Return a quarter of lanes."""
    result, first = Lanes(lanes.element, lanes.count // 4), quarter.literal_value

    def generate(context, builder, signature, args):
        order = [first * result.count + i for i in range(result.count)]
        return _shuffled(builder, args[0], args[0], order)

    return result(lanes, quarter), generate
