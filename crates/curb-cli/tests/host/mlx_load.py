"""A real MLX program that does what its arguments say, in order.

+MIB holds so much more, - lets go of all of it, ~SECONDS waits, *SECONDS computes, ?WORD prints what WORD means below.
SIGUSR1 saves what it holds to the file that SAVE_TO names. It tells each step on a line of its own.
"""

import os
import signal
import sys
import time

import mlx.core as mx

held = []


def save(*_):
    mx.save(os.environ["SAVE_TO"], mx.array([len(held)]))
    print("saved", flush=True)


def tell(word):
    if word == "cache":
        mx.eval(mx.ones((64 << 18,)))
        return mx.get_cache_memory() >> 20
    if word == "cpus":
        return sorted(os.sched_getaffinity(0))
    return os.environ.get(word)


signal.signal(signal.SIGUSR1, save)
print("up", flush=True)
for step in sys.argv[1:]:
    kind, rest = step[0], step[1:]
    if kind == "+":
        for _ in range(int(rest)):
            x = mx.full((1 << 18,), 1.0)
            mx.eval(x)
            held.append(x)
    elif kind == "-":
        held.clear()
        mx.clear_cache()
    elif kind == "~":
        until = time.monotonic() + float(rest)
        while time.monotonic() < until:
            time.sleep(0.02)
    elif kind == "*":
        until = time.monotonic() + float(rest)
        a = mx.ones((128, 128))
        while time.monotonic() < until:
            mx.eval(a @ a)
    elif kind == "?":
        print(rest, tell(rest), flush=True)
    print(step, flush=True)
