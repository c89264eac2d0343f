"""The last step of the image: Beam is the launcher's, and the worker's code imports."""

from __future__ import annotations

import importlib
import importlib.metadata

WORKER_MODULES = (
    "versatune.schemas.arrow",
    "versatune.transforms.reading.read",
    "versatune.transforms.classifier.classify",
    "versatune.transforms.shards.write_shards",
    "versatune.pipelines.build",
    "versatune.pipelines.probe",
)


def main() -> None:
    """Check, and stop the build of the image on the first thing that is wrong."""
    for module in WORKER_MODULES:
        importlib.import_module(module)
    pinned = [line for line in importlib.metadata.requires("versatune") or () if line.startswith("apache-beam==")]
    beam = importlib.metadata.version("apache-beam")
    if f"apache-beam=={beam}" not in pinned:
        raise SystemExit(
            f"the image holds apache-beam {beam}; versatune asks for {pinned}: take the base image of that version"
        )
    print(f"versatune {importlib.metadata.version('versatune')} on apache-beam {beam}: imports and versions are right")


if __name__ == "__main__":
    main()
