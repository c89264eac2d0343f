"""Know what to fine-tune on: build, probe, mix and train domain mixtures for language models.

Python programs may rely on the names of :mod:`versatune.interface`. They are loaded when the first of them is used (PEP 562), so that
``import versatune`` costs nothing and needs neither Beam nor torch::

    config = versatune.load_config("my.yaml")
    manifest = versatune.read_dataset(versatune.build(config))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from versatune.interface import *  # noqa: F403  # its __all__ is the one list of public names
else:  # hidden from type checkers, which would take any misspelt name for one that it loads

    def __getattr__(name: str) -> Any:
        interface = import_module("versatune.interface")
        if name not in {"__all__", *interface.__all__}:
            raise AttributeError(f"module 'versatune' has no attribute '{name}'; it has {', '.join(interface.__all__)}")
        return getattr(interface, name)

    def __dir__() -> list[str]:
        return sorted(import_module("versatune.interface").__all__)
