"""The benchmarks are scripts of the checkout and no part of the wheel."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # last: the packages under test stay those that are installed
