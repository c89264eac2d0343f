"""Write the lock files: every package by version and sha256, nothing about where it came from or who resolved it.

    python3.11 scripts/lock.py

uv resolves, in an environment of its own that is thrown away; pip's configured find-links are searched beside its index.
Nothing that is locked is installed by this.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = "uv==0.13.9"

# name -> extras of versatune, and whether pip's find-links (the CPU build of torch) and the CPU overrides apply
LOCKS = {
    "cpu": (["cpu", "demo", "dev"], True),  # make demo, make test
    "gpu": (["gpu", "dev"], False),  # a machine with a GPU
    "worker": (["gcp"], False),  # the image of a Dataflow worker
    "gpu-worker": (["gcp", "gpu"], False),  # the same for a probe: with vLLM
}


def main() -> None:
    """Resolve each lock and replace its file."""
    with tempfile.TemporaryDirectory(prefix="versatune-lock-") as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([f"{folder}/bin/python", "-m", "pip", "-qq", "install", UV], check=True)
        for name, (extras, cpu) in LOCKS.items():
            resolve(f"{folder}/bin/uv", name, extras, cpu=cpu)


def resolve(uv: str, name: str, extras: list[str], *, cpu: bool) -> None:
    """Write requirements/<name>.txt."""
    command = [
        uv,
        "pip",
        "compile",
        "--quiet",
        "--upgrade",
        "--python-version",
        "3.11",
        "--python-platform",
        "x86_64-manylinux_2_28",
    ]
    command += ["--generate-hashes", "--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links"]
    for extra in extras:
        command += ["--extra", extra]
    if cpu:
        command += ["--override", "requirements/cpu-overrides.txt"]
        for place in find_links():
            command += ["--find-links", place]
    output = ROOT / "requirements" / f"{name}.txt"
    command += ["--output-file", f"requirements/{name}.txt", "pyproject.toml"]
    environment = {key: value for key, value in os.environ.items() if key != "UV_FIND_LINKS"}
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    text = output.read_text()
    if "://" in text or "file:" in text:
        sys.exit(f"{output} names an address: a package was taken from a place instead of by version and hash")
    print(f"{output.relative_to(ROOT)}: {sum('==' in line for line in text.splitlines())} packages")


def find_links() -> list[str]:
    """The find-links of pip's configuration."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


if __name__ == "__main__":
    main()
