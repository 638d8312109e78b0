"""A program that needs more pages of a file than its limit on memory has room for. It is run by its tests.

thrash.py FILE HELD PASSES   holds HELD MiB of its own (below zero: of its limit, but for so many), and goes PASSES times through the
                             last 8 MiB of the file, in no order
thrash.py FILE stream SECONDS   reads the file again and again, as fast as it comes: by read(2) and mapped, in turns
"""

import mmap
import os
import random
import sys
import time

PAGES = 2048


def group():
    """Its group, and the names of what it is charged and of its limit; none while nothing limits it."""
    for line in open("/proc/self/cgroup"):
        _, controllers, path = line.rstrip("\n").split(":", 2)
        if controllers == "memory":
            home, names = "/sys/fs/cgroup/memory" + path, ("memory.usage_in_bytes", "memory.limit_in_bytes")
        elif controllers == "":
            home, names = "/sys/fs/cgroup" + path, ("memory.current", "memory.max")
        else:
            continue
        limit = open(f"{home}/{names[1]}").read().strip() if os.path.exists(f"{home}/{names[1]}") else "max"
        if limit != "max" and int(limit) < 1 << 40:
            return home, names[0], int(limit)
    return None


def own_memory(home, name):
    """What its group is charged besides page cache: by its kernel's own count."""
    stat = dict(line.split() for line in open(f"{home}/memory.stat"))
    cache = sum(int(stat.get("total_" + n, stat.get(n))) for n in ("active_file", "inactive_file"))
    return int(open(f"{home}/{name}").read()) - cache


def fill(mib):
    until = time.monotonic() + 30
    while group() is None:
        if time.monotonic() > until:
            sys.exit("nothing limits it")
        time.sleep(0.05)
    home, name, limit = group()
    most = mib * (1 << 20) + (limit if mib < 0 else 0)
    held = []
    while own_memory(home, name) < most:
        held.append(bytearray(os.urandom(64)) * 2048)
    return held


def needed(path, size):
    """The end of the file, mapped; what of it others have read into memory is charged to them, hence it is dropped first."""
    file = os.open(path, os.O_RDONLY)
    whole = os.fstat(file).st_size & -4096
    os.posix_fadvise(file, whole - size, size, os.POSIX_FADV_DONTNEED)
    return mmap.mmap(file, size, prot=mmap.PROT_READ, offset=whole - size)


def stream(path, seconds):
    until = time.monotonic() + seconds
    passes = 0
    file = os.open(path, os.O_RDONLY)
    size = os.fstat(file).st_size & -4096
    mapped = needed(path, size)
    while time.monotonic() < until:
        os.lseek(file, 0, os.SEEK_SET)
        while os.read(file, 1 << 20):
            pass
        for at in range(0, size, 4096):
            mapped[at]
        passes += 1
    print("passes", passes, flush=True)


path = sys.argv[1]
if sys.argv[2] == "stream":
    stream(path, float(sys.argv[3]))
else:
    text = needed(path, PAGES * 4096)
    order = list(range(0, PAGES * 4096, 4096))
    random.Random(1).shuffle(order)
    print("up", flush=True)
    held = fill(float(sys.argv[2]))
    print("full", flush=True)
    for _ in range(int(sys.argv[3])):
        for at in order:
            text[at]
    print("done", flush=True)
