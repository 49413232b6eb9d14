"""Finding the compiled modules: top-level ones, so that a checkout does not hide those installed."""

import importlib
from types import ModuleType


def load_module(name: str, version: int) -> ModuleType | None:
    """The compiled module, or None if it is not installed.

    Raises:
        ImportError: it is there but cannot be loaded, or was built for another `version` of the C interface.
    """
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None
    found = getattr(module, "ABI_VERSION", None)
    if found != version:
        raise ImportError(
            f"{module.__file__} was built for another version of panodeeplab "
            f"(its ABI version is {found}, wanted {version}); install panodeeplab again to rebuild it"
        )
    return module
