"""What a Python program tells curb of itself while it is profiled or supervised: marks on its way, and MLX's counters.

`curb profile` and `curb run` put this into the program's interpreter; nothing of the program has to change. It can say
more:

    try:
        import curb_hook
    except ImportError:  # not run by curb, and not installed
        pass
    else:
        curb_hook.mark("weights")  # they are in memory; else the end of the first mlx.core.eval is taken for that

It must never be noticed: it prints nothing, raises nothing, waits for nobody and holds no descriptor. What it cannot
tell is not told, and curb says that it was not. Standard library only, and little of it: what it imports
is measured too.
"""

from __future__ import annotations

import _socket
import _thread
import atexit
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

__all__ = ["mark"]

# Where messages go: a datagram socket in the file system. Nobody there: nothing is told.
SOCKET = "CURB_HOOK"
# Bytes that MLX is held to; set once mlx.core is imported.
MLX_LIMITS = {"cache": "CURB_MLX_CACHE", "memory": "CURB_MLX_MEMORY", "wired": "CURB_MLX_WIRED"}
# The time between two readings of the counters, in seconds.
EVERY = 0.1
# Modules whose import is told.
WATCHED = frozenset({"mlx.core", "mlx.nn", "mlx.optimizers", "mlx_lm", "torch", "jax", "tensorflow"})
# A text in a message has at most so many characters.
LONGEST = 200


class _Hook:
    def __init__(self, path: str) -> None:
        self.path = path
        self.page = os.sysconf("SC_PAGE_SIZE")
        self.mlx: Any = None
        self.stopping: Any = None
        self.thread: Any = None
        self.told: set[str] = set()
        self.lock = _thread.allocate_lock()

    def send(self, kind: str, **fields: object) -> None:
        """One message: fields between tabs. The socket is made for each: a program that closes all its descriptors,
        and opens others under their numbers, must not find our messages in them."""
        try:
            said = {"kind": kind, "pid": os.getpid(), "at_us": time.monotonic_ns() // 1000, **fields}
            parts = []
            for name, value in said.items():
                if value is not None:
                    text = "".join(c if c.isprintable() else "?" for c in str(value)[:LONGEST])
                    parts.append(f"{name}={text}")
            to = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
            try:
                to.setblocking(False)
                to.sendto("\t".join(parts).encode("utf-8", "replace"), self.path)
            finally:
                to.close()
        except Exception:  # noqa: BLE001, S110 the program must not notice
            pass

    def resident(self) -> int | None:
        try:
            with open("/proc/self/statm", "rb") as file:
                return int(file.read().split()[1]) * self.page
        except Exception:  # noqa: BLE001
            return None

    def mark(self, name: str, **fields: object) -> None:
        self.send("mark", name=name, resident=self.resident(), **fields)

    def once(self, name: str, **fields: object) -> None:
        """A mark that means something only the first time."""
        with self.lock:
            if name in self.told or len(self.told) > 100:
                return
            self.told.add(name)
        self.mark(name, **fields)

    # What is imported

    def imported(self, name: str, module: ModuleType) -> None:
        root = sys.modules.get(name.partition(".")[0])
        version = getattr(module, "__version__", None) or getattr(root, "__version__", None)
        self.mark("imported", module=name, version=version)
        if name == "mlx.core":
            self.mlx = module
            self.limit()
            self.watch_eval()
            self.start()

    def limit(self) -> None:
        """Holds MLX to what curb was told to hold it to, and tells what came of it."""
        for name, variable in MLX_LIMITS.items():
            given = os.environ.get(variable)
            if given is None:
                continue
            try:
                before = getattr(self.mlx, f"set_{name}_limit")(int(given))
                self.send("limit", name=name, bytes=int(given), before=before)
            except Exception as error:  # noqa: BLE001
                self.send("limit", name=name, error=f"{type(error).__name__}: {error}")

    def watch_eval(self) -> None:
        """The first thing that is computed is the weights, as a rule; what is computed after that is work."""
        for name in ("eval", "async_eval"):
            real = getattr(self.mlx, name, None)
            if callable(real):
                setattr(self.mlx, name, self.wrap(name, real))

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def eval_(*args: Any, **kwargs: Any) -> Any:
            try:
                if "weights" in self.told:
                    self.once("work")
                    # It has told all it had to: the program calls the real one from now on.
                    if getattr(self.mlx, name, None) is eval_:
                        setattr(self.mlx, name, real)
                    return real(*args, **kwargs)
                return real(*args, **kwargs)
            finally:
                self.once("weights", by="the first eval")

        eval_.__name__ = name
        eval_.__doc__ = real.__doc__
        return eval_

    # Counters

    def count(self) -> None:
        mlx = self.mlx
        self.send("mlx", active=mlx.get_active_memory(), cache=mlx.get_cache_memory(), peak=mlx.get_peak_memory())

    def run(self) -> None:
        try:
            while not self.stopping.wait(EVERY):
                self.count()
        except Exception:  # noqa: BLE001, S110 no counters, then
            pass

    def start(self) -> None:
        if self.mlx is None or self.thread is not None:
            return
        import threading

        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, name="curb-hook", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """A thread at the end of the interpreter, or beside a fork, is what programs fall over."""
        thread, self.thread = self.thread, None
        if thread is not None and thread.ident != _thread.get_ident():
            self.stopping.set()
            thread.join(0.5)

    def finish(self) -> None:
        self.stop()
        if self.mlx is not None:
            self.count()

    def in_child(self) -> None:
        # MLX's own threads are gone, and with them whoever held its locks: its counters are not asked there.
        self.lock, self.thread, self.mlx = _thread.allocate_lock(), None, None


class _Loader:
    """The real loader, with a word after. The module gets the real one before its first line runs."""

    def __init__(self, hook: _Hook, real: Any, spec: ModuleSpec) -> None:
        self.hook, self.real, self.spec = hook, real, spec

    def create_module(self, spec: ModuleSpec) -> Any:
        return self.real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.spec.loader = module.__loader__ = self.real
        self.real.exec_module(module)
        _quietly(self.hook.imported, self.spec.name, module)


class _Finder:
    def __init__(self, hook: _Hook) -> None:
        self.hook = hook

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in WATCHED:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                # One that cannot be loaded in two steps is left as it is.
                if hasattr(spec.loader, "exec_module") and hasattr(spec.loader, "create_module"):
                    _quietly(self.hook.mark, "importing", module=name)
                    loader: Any = _Loader(self.hook, spec.loader, spec)
                    spec.loader = loader
                return spec
        return None


def _quietly(do: Callable[..., object], *args: object, **kwargs: object) -> None:
    try:  # noqa: SIM105 contextlib is not free
        do(*args, **kwargs)
    except Exception:  # noqa: BLE001, S110 the program must not notice
        pass


_hook: _Hook | None = None


def mark(name: str) -> None:
    """Tells curb that the program has come so far: `weights` once they are in memory, `work` when it begins."""
    if _hook is not None:
        _quietly(lambda: _hook.once(str(name), by="the program"))


def _install() -> None:
    global _hook
    path = os.environ.get(SOCKET)
    if not path or _hook is not None:
        return
    hook = _hook = _Hook(path)
    finder: Any = _Finder(hook)
    sys.meta_path.insert(0, finder)
    atexit.register(_quietly, hook.finish)
    os.register_at_fork(
        before=lambda: _quietly(hook.stop),
        after_in_parent=lambda: _quietly(hook.start),
        after_in_child=lambda: _quietly(hook.in_child),
    )
    hook.mark("interpreter", version=sys.version.split()[0])
