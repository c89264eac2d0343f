"""``python -m versatune`` is the same as ``versatune``."""

from versatune.cli.app import main

main()
