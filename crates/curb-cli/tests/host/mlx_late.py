"""A real MLX program that answers SIGTERM only when its one long evaluation has returned: at least so many seconds."""

import math
import signal
import sys
import time

import mlx.core as mx

wanted = float(sys.argv[1])
a = mx.full((512, 512), 1.0 / 512)


def chain(n):
    x = a
    for _ in range(n):
        x = x @ a
    began = time.monotonic()
    mx.eval(x)
    return time.monotonic() - began


def end(*_):
    print("answered", flush=True)
    sys.exit(7)


signal.signal(signal.SIGTERM, end)
chain(8)
# The shortest of many is what one takes where nobody else computes: with others it only takes longer.
once = min(chain(8) for _ in range(40)) / 8
print("evaluates", flush=True)
took = chain(math.ceil(wanted / once))
# SIGTERM did not come before its end: that is not what is to be shown.
print("not asked in", took, flush=True)
