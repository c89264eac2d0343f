"""Packages that versatune is compared with and does not use itself, in an environment of their own.

The environment sees everything that the running interpreter sees, so that both sides use the same pyarrow, numpy and fastText; only what is missing is
installed into it, pinned and without dependencies: nothing that the project runs on is replaced, and no torch comes along.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

PINS = ("datatrove==0.10.1", "humanize==4.17.0", "loguru==0.7.3", "datasketch==2.0.0", "scipy==1.17.1")
_CACHE = Path.home() / ".cache" / "versatune-benchmarks"
_COMPLETE = "complete"


def peers_python(folder: Path | None = None) -> str:
    """Return the interpreter of the environment, made on the first call (needs a package index once).

    Args:
        folder: where it is; by default ~/.cache/versatune-benchmarks/<digest of the pins and the interpreter>.
    """
    parents = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    digest = hashlib.sha256("\n".join([*PINS, sys.version, *parents]).encode()).hexdigest()[:12]
    home = folder or _CACHE / digest
    python = home / "bin" / "python"
    if (home / _COMPLETE).is_file() and (home / _COMPLETE).read_text() == digest:
        return str(python)
    if home.exists() and not (home / "pyvenv.cfg").is_file() and any(home.iterdir()):
        sys.exit(f"benchmark: {home} is there and is no virtual environment; name another with --peers-venv")
    shutil.rmtree(home, ignore_errors=True)
    print(f"benchmark: installing {', '.join(PINS)} into {home}", file=sys.stderr)
    venv.create(home, with_pip=True)
    (own,) = home.glob("lib/python*/site-packages")
    (own / "parent.pth").write_text("\n".join(parents) + "\n")
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", *PINS]
    if subprocess.run(install, check=False, stdout=sys.stderr).returncode:
        sys.exit("benchmark: the other libraries cannot be installed (see above); --without-peers leaves them out")
    (home / _COMPLETE).write_text(digest)
    return str(python)
