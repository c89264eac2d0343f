"""``python -m versatune`` is the same as ``versatune``."""

from versatune.cli import main

main()
