"""Found by the interpreter before the program's own sitecustomize: starts the hook, and then runs that one, if any."""

import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))


def _start() -> None:
    try:
        import curb_hook

        curb_hook._install()
    except BaseException:  # noqa: BLE001, S110 the program must not notice
        pass


def _others() -> None:
    """The sitecustomize that would have been found without us, exactly as it would have been run."""
    # Where importlib has them from; importlib itself would cost more memory than all the rest of this.
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import PathFinder

    spec = PathFinder.find_spec("sitecustomize")
    if spec is None or spec.loader is None:
        # What the interpreter takes for "there is none".
        raise ImportError("No module named 'sitecustomize'", name="sitecustomize")
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


_start()
# The program is not to find our directory on its path.
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _here]
sys.path_importer_cache.pop(_here, None)
_others()
