"""What a build reads, and where everything is written."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from versatune.checks.report import Fact, Findings, Problem, amount
from versatune.checks.subject import Subject
from versatune.pipelines.build_plan import planned_bytes
from versatune.pipelines.staging import check_inputs
from versatune.schemas.config import CleanConfig, PiiConfig, SourceConfig
from versatune.schemas.errors import ConfigError
from versatune.schemas.licenses import is_allowed
from versatune.schemas.remote import is_remote
from versatune.transforms.cleaning.chain import make_cleaner
from versatune.transforms.formats.listing import source_splits
from versatune.transforms.transport.mirror import pull

_WHOLE_FILES = 2**62  # a benchmark's files are not divided


def sources(subject: Subject) -> Findings:
    """Sources whose files are not there, or lie where outputs go."""
    splits = subject.splits.get()
    check_inputs(subject.config, splits)
    for why in (split.refused for split in splits if split.refused):
        message = f"{why.rstrip('.')}. The build leaves it out (build.on_refused_file is skip)"
        yield Problem(stage="build", key="sources", message=message, refused=False)
    files = len({(split.source, split.uri) for split in splits if not split.refused})
    yield Fact(name="inputs", text=f"{amount(files, 'file')}, {planned_bytes(splits) / 2**20:,.1f} MiB of rows")
    if subject.left_out:
        yield Fact(name="splits", text="; ".join(line.partition(". ")[0] for line in subject.left_out))


def licenses(subject: Subject) -> Findings:
    """Licences that the policy forbids: the build would emit nothing."""
    policy = subject.config.build.licenses
    found = {(split.source, split.license) for split in subject.splits.value or []}
    for source, name in sorted(found):
        if not is_allowed(policy, name):
            yield Problem(
                stage="build",
                key="build.licenses",
                message=f"source '{source}' has the licence {name}, which the policy forbids; take the source out, or change the policy",
            )


def classifier(subject: Subject) -> Findings:
    """A classifier that is not there, not the expected one, or not of these domains."""
    subject.classifier.get()
    yield from ()


def cleaning(subject: Subject) -> Findings:
    """Patterns that are no regular expressions, unknown languages and regions."""
    clean, pii = subject.config.build.clean, subject.config.build.pii
    apart = [
        *(
            ("build.clean.drop_patterns", CleanConfig(drop_patterns=[pattern]), PiiConfig())
            for pattern in clean.drop_patterns
        ),
        ("build.clean.languages", clean.model_copy(update={"drop_patterns": []}), PiiConfig()),
        ("build.pii.phone_regions", CleanConfig(), pii),
    ]
    for key, only_clean, only_pii in apart:
        try:
            make_cleaner(only_clean, only_pii)
        except ConfigError as error:
            yield Problem(stage="build", key=key, message=str(error))


def benchmarks(subject: Subject) -> Findings:
    """Evaluation sets whose files are not there."""
    for benchmark in subject.config.build.decontaminate.benchmarks:
        source_splits(SourceConfig(name=benchmark.name, files=benchmark.files), subject.config.directory, _WHOLE_FILES)
    yield from ()


def output(subject: Subject) -> Findings:
    """An output that cannot be written to, or, on an object store, not be listed."""
    home = subject.config.home
    if is_remote(home):
        pull(home, ["latest.json"])
        return
    place = existing(Path(home))
    try:
        with TemporaryFile(dir=place):  # what permissions and mounts say together; it has no name and leaves nothing
            pass
    except OSError as error:
        what = "is a file" if place.is_file() else f"cannot be written to ({error.strerror})"
        yield Problem(stage="build", key="output", message=f"{home} cannot be made: {place} {what}; name another place")


def existing(path: Path) -> Path:
    """Return the path, or what there is of the way to it."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
