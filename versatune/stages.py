"""One function per stage, and what decides whether a stage has to run again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from versatune.models.fit import check_model_fit
from versatune.models.look import check_trainable
from versatune.schemas.chat_template import template_file
from versatune.schemas.config import Config
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import ConfigError, DataError, IntegrityError, UsageError, VersatuneError, nearest
from versatune.schemas.files import sha256_json, write_atomic
from versatune.schemas.inside import inside
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.pointer import read_pointer, write_pointer
from versatune.schemas.probe import ProbeReport
from versatune.schemas.progress import Progress, Silence
from versatune.schemas.remote import address_of, is_remote, mirror_of
from versatune.schemas.run import ExportAudit, RunRecord
from versatune.schemas.version import VERSION
from versatune.versions.mixtures import describe, differences, find_mixture, is_newest, is_trial, newest_mixture
from versatune.versions.places import at_hand
from versatune.versions.verify import verify

if TYPE_CHECKING:
    from versatune.checks.report import CheckReport


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every stage is given."""

    config: Config
    beam_args: tuple[str, ...]
    progress: Progress
    mixture: str | None = None
    """What to train on: a mixture's file, its directory, or the first digits of its digest; None for the newest one."""

    @property
    def home(self) -> Path:
        """The configuration's output directory, of one on an object store its mirror on this machine: see :func:`_bring`."""
        return mirror_of(self.config.home)

    @property
    def local(self) -> Job:
        """The same, with its outputs in the mirror, for what is made on this machine."""
        if not is_remote(self.config.home):
            return self
        return replace(self, config=self.config.model_copy(update={"output": str(self.home.parent)}))


_DOCUMENTS = (
    "*.json",
    "*/manifest.json",
    "probe/latest.json",
    "probe/*/*",
    "mixture/**",
    "runs/latest.json",
    "runs/*/*",
)
"""Of a remote output directory: what its outputs say of themselves. Rows and weights are fetched by what reads them."""
_MADE_HERE: Mapping[str, tuple[str, ...]] = {"build": (), "probe": (), "mix": ("mixture/**",), "train": ("runs/**",)}
_STAYS_HERE = ("runs/*/checkpoints/**", "**/.*", "**.lock")


def build(job: Job) -> Path:
    """Build a dataset version; return its manifest."""
    from versatune.pipelines.build import run

    return run(job.config, beam_args=job.beam_args, progress=job.progress)


def probe(job: Job) -> Path:
    """Probe the base model; return the report."""
    from versatune.pipelines.probe import run

    return run(job.config, beam_args=job.beam_args, progress=job.progress)


def mix(job: Job) -> Path:
    """Compose a mixture from the newest dataset version and, where the policy needs it, the newest probe.

    It becomes the newest mixture, but for a trial: one whose settings come from the command line stays beside it.
    """
    mixture, report = _compose(job)
    _check_model(job.config, mixture)
    home = job.home / "mixture"
    relative = f"{mixture.digest[:12]}/mixture.json"
    mixture.write(home / relative)
    if not is_trial(job.config):
        write_pointer(home / "latest.json", relative, mixture.digest)
    elif not is_newest(home, mixture):
        job.progress.say(
            "mix: made with settings that are not in the configuration's file, so it does not become the newest mixture;"
            f" `versatune train CONFIG --mixture {mixture.digest[:12]}` trains on it"
        )
    without = [plan.domain for plan in mixture.plan if plan.rows and not plan.requested_weight]
    if report is not None and without and not job.config.mix.mixer.floor:
        job.progress.say(
            f"mix: the probe gives {', '.join(without)} no share, so none of it is trained on; mix.mixer.floor=0.01 would see to a little"
        )
    return home / relative


def _check_model(config: Config, mixture: MixtureManifest) -> None:
    """Compare the rows of a mixture with the model that would be trained on it, where its folder is at hand."""
    folder = Path(config.resolve(config.model.path)) if config.model and "://" not in config.model.path else None
    if folder is not None and mixture.tokenizer is not None and folder.is_dir():
        check_trainable(folder, config)
        check_model_fit(folder, max_tokens=mixture.tokenizer.max_tokens)


def _compose(job: Job) -> tuple[MixtureManifest, ProbeReport | None]:
    """Return the mixture of the configuration as it is, and the probe that it follows."""
    from versatune.mixing.compose import compose

    dataset_file = _dataset_file(job.home)
    dataset = DatasetManifest.load(dataset_file)
    report = _newest_report(job.home) if job.config.mix.policy == "versatune-constant" else None
    return compose(
        job.config, dataset, os.path.relpath(dataset_file.parent, job.home / "mixture" / "digest"), report
    ), report


def train(job: Job) -> Path:
    """Train from a mixture; return the run record."""
    file = _chosen_mixture(job)
    with _trainer():
        from versatune.sft_runner.train import run
    _say_what_is_trained_on(job, file)
    mixture = MixtureManifest.load(file)
    at_hand(
        file.parent / mixture.dataset.path,
        "manifest.json",
        *(shard.path for shard in mixture.shards),
        progress=job.progress,
    )
    return run(job.local.config, file, progress=job.progress, fetch=_fetch_model)


def export(run: Path, progress: Progress) -> Path:
    """Export a trained run again from its last checkpoint; return the run record."""
    with _trainer():
        from versatune.sft_runner.train import export
    return export(run, progress=progress, fetch=_fetch_model)


def audit(run: Path, progress: Progress) -> tuple[ExportAudit, list[str]]:
    """Repeat the audit of a run's export; return its figures, and one line per thing that differs."""
    with _trainer():
        from versatune.sft_runner.audit_run import audit_run
    return audit_run(run, progress, _fetch_model)


@contextlib.contextmanager
def _trainer() -> Iterator[None]:
    """Say which package is missing where the trainer's cannot be imported."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"training needs the package {error.name}: pip install 'versatune[train]'") from error


def _chosen_mixture(job: Job) -> Path:
    """Return the mixture that was asked for: by name, by settings from the command line, or the newest one."""
    home = job.home / "mixture"
    if job.mixture is not None:
        return find_mixture(home, job.mixture)
    if is_trial(job.config):
        mixture, _ = _compose(job)
        file = home / mixture.digest[:12] / "mixture.json"
        if not file.is_file():
            raise DataError(
                f"{home}: there is no mixture of these settings ({', '.join(job.config.overrides)}); run `versatune mix CONFIG` with the"
                " same --set first, name a mixture with --mixture, or leave the settings out to train on the newest one"
            )
        return file
    return newest_mixture(home)


def _say_what_is_trained_on(job: Job, file: Path) -> None:
    mixture = MixtureManifest.load(file)
    job.progress.say(f"train: {describe(mixture)}")
    differing = differences(job.config, mixture)
    if differing:
        job.progress.say(
            f"train: the mixture is not of this configuration: {'; '.join(differing)}. `versatune mix CONFIG` makes one that is"
        )
    dataset = _newest_dataset(job.home)
    if dataset is not None and dataset.digest != mixture.dataset_digest:
        job.progress.say(
            f"train: the newest dataset version is {dataset.version}, digest {dataset.digest[:12]}; the mixture is of version"
            f" {mixture.dataset.version}"
        )


def _dataset_file(home: Path) -> Path:
    return read_pointer(home / "latest.json", what="dataset", command="versatune build CONFIG")


def _newest_dataset(home: Path) -> DatasetManifest | None:
    with contextlib.suppress(VersatuneError):
        return DatasetManifest.load(_dataset_file(home))
    return None


def _newest_report(home: Path) -> ProbeReport:
    return ProbeReport.load(
        read_pointer(home / "probe" / "latest.json", what="probe report", command="versatune probe CONFIG")
    )


def check(job: Job, stages: Sequence[str] | None = None) -> CheckReport:
    """Look for everything that the stages would refuse; nothing is written.

    Args:
        job: what would be run.
        stages: those to check for; None for those that :func:`run_all` would not skip.

    Raises:
        UsageError: there is no such stage; flags that Beam does not know.
    """
    from versatune.checks.preflight import preflight
    from versatune.checks.subject import Subject
    from versatune.pipelines.options import LOCAL_RUNNER, pipeline_options, runner_name

    for stage in stages or ():
        if stage not in STAGES:
            raise UsageError(f"stage '{stage}': there is none of that name{nearest(stage, STAGES)}")
    with contextlib.suppress(VersatuneError):  # a check of its own says that the output cannot be reached
        _bring(job)
    todo = frozenset(stages if stages is not None else _still_to_do(job))
    report = None
    dataset = None if "build" in todo else _newest_dataset(job.home)
    if "probe" not in todo and job.config.mix.policy == "versatune-constant":
        with contextlib.suppress(VersatuneError):
            report = _newest_report(job.home)
    local = runner_name(pipeline_options(job.beam_args, 1)) == LOCAL_RUNNER
    return preflight(Subject(config=job.config, stages=todo, local=local, dataset=dataset, probe=report))


def _still_to_do(job: Job) -> set[str]:
    """Return the stages that are not complete, changed, or made from what will be made anew. Files are not read."""
    todo: set[str] = set()
    for stage in _stages_of(job.config):
        if todo.intersection(_MADE_FROM[stage]) or not _is_remembered(job, stage):
            todo.add(stage)
    return todo


def _is_remembered(job: Job, stage: str) -> bool:
    try:
        entry = _read_state(job.home).get(stage)
        if not isinstance(entry, dict) or not inside(job.home, str(entry.get("output"))).is_file():
            return False
        return bool(entry.get("key") == _KEYS[stage](job))
    except (VersatuneError, OSError):
        return False  # the check says what is in the way


def _stages_of(config: Config) -> list[str]:
    return [stage for stage in STAGES if stage != "probe" or config.mix.policy == "versatune-constant"]


def _fetch_model(uri: str) -> Path:
    """Fetch a model from an object store; only then does training need Beam."""
    from versatune.transforms.transport.model_fetch import fetch_model

    return fetch_model(uri)


def run_all(job: Job) -> dict[str, tuple[Path, bool]]:
    """Run every stage in order; return each one's output and whether it was skipped as complete and unchanged.

    Raises:
        CheckError: before anything is done, with everything that a later stage would refuse.
    """
    report = check(job)
    report.raise_refused()
    for problem in report.warnings:
        job.progress.say(f"warning: {problem}")
    outputs: dict[str, tuple[Path, bool]] = {}
    if job.config.mix.policy != "versatune-constant":
        job.progress.say(f"probe: not needed by mix.policy '{job.config.mix.policy}'")
    for stage in _stages_of(job.config):
        if stage == "train":
            job = replace(job, mixture=str(outputs["mix"][0]))
        key = _KEYS[stage](job)
        done = _complete(job.home, stage, key)
        if done is not None:
            job.progress.say(f"{stage}: complete and unchanged, {done}")
            outputs[stage] = (done, True)
            continue
        job.progress.say(f"{stage}: starting")
        outputs[stage] = (_run(job, stage, key), False)
    return outputs


def check_outputs(outputs: Mapping[str, tuple[Path, bool]], progress: Progress) -> None:
    """Verify what was made (what was skipped already is); raise IntegrityError with what is wrong."""
    for stage, (file, skipped) in outputs.items():
        if skipped:
            continue
        if stage in ("build", "mix") and is_remote(address_of(file)):
            progress.say(
                f"{stage}: not verified, because its rows lie at {address_of(file.parent)}; `versatune verify` fetches and checks them"
            )
            continue
        document, problems = verify(file, progress)
        if problems:
            raise IntegrityError("\n".join(problems))
        progress.say(f"verified: {document.kind.partition('/')[2]}, digest {document.digest[:12]}")


def write_page(directory: Path, progress: Progress) -> Path:
    """Write the page about a run or a probe into its directory, and send it to where that is; return its place on this machine."""
    from versatune.reporting.page import write_report
    from versatune.reporting.probe_page import write_probe_page

    folder = directory.parent if directory.suffix == ".json" else directory
    home = folder.parent.parent  # OUTPUT/NAME of OUTPUT/NAME/runs/ID and OUTPUT/NAME/probe/DIGEST
    at_hand(home, *_DOCUMENTS)
    page = (write_probe_page if (folder / "probe.json").is_file() else write_report)(folder)
    if is_remote(address := address_of(folder)):
        from versatune.transforms.transport.mirror import push

        push(address, [page.name], progress)
    return page


def run_one(job: Job, stage: str) -> Path:
    """Run one stage, whatever was there before, and remember what it was made from."""
    _bring(job)
    return _run(job, stage, _KEYS[stage](job))


def _run(job: Job, stage: str, key: str) -> Path:
    try:
        output = _FUNCTIONS[stage](job)
    except PermissionError as error:
        raise UsageError(
            f"{stage}: {error.filename}: {error.strerror}; give 'output' a place that you may write to, and sources that you may read"
        ) from error
    _remember(job, stage, key, output)
    _send(job, stage)
    return output


def _bring(job: Job) -> None:
    """See that what a remote output directory says of itself is on this machine, and that the flags for Beam hold."""
    if is_remote(job.config.home):
        from versatune.transforms.transport.storage import use_flags

        use_flags(job.beam_args)
        at_hand(job.home, *_DOCUMENTS)


def _send(job: Job, stage: str) -> None:
    """Send what a stage made on this machine to a remote output directory; checkpoints stay, for they are many times the model."""
    if is_remote(job.config.home):
        from versatune.transforms.transport.mirror import push

        push(job.config.home, ("stages.json", *_MADE_HERE[stage]), job.progress, besides=_STAYS_HERE)


def _build_key(job: Job) -> str:
    from versatune.transforms.reading.read import plan_inputs

    inputs = [
        [split.source, split.uri, split.bytes, *([split.refused] if split.refused else _file_key(split.location))]
        for split in plan_inputs(job.config)
    ]
    return sha256_json([VERSION, job.config.build_fingerprint(), inputs, _model_key(job), _classifier_key(job)])


def _probe_key(job: Job) -> str:
    section = job.config.probe.model_dump(mode="json")
    taxonomy = job.config.taxonomy.model_dump(mode="json")
    return sha256_json([VERSION, section, taxonomy, job.config.seed, _model_key(job), _classifier_key(job)])


def _mix_key(job: Job) -> str:
    pointers = [_content(job.home / "latest.json"), _content(job.home / "probe" / "latest.json")]
    return sha256_json([VERSION, job.config.mix.model_dump(mode="json"), job.config.seed, pointers])


def _train_key(job: Job) -> str:
    section = job.config.train.model_dump(mode="json")
    return sha256_json([VERSION, section, job.config.seed, _mixture_key(job), _model_key(job)])


def _mixture_key(job: Job) -> str:
    """Return the digest of the mixture that would be trained on; where there is none, what stands in its place."""
    try:
        return MixtureManifest.load(_chosen_mixture(job)).digest
    except VersatuneError:
        return _content(job.home / "mixture" / "latest.json")


_FUNCTIONS: Mapping[str, Callable[[Job], Path]] = {"build": build, "probe": probe, "mix": mix, "train": train}
_KEYS: Mapping[str, Callable[[Job], str]] = {
    "build": _build_key,
    "probe": _probe_key,
    "mix": _mix_key,
    "train": _train_key,
}
STAGES = tuple(_FUNCTIONS)
_DOCUMENT: Mapping[str, type[DatasetManifest | MixtureManifest | RunRecord]] = {
    "build": DatasetManifest,
    "mix": MixtureManifest,
    "train": RunRecord,
}
_MADE_FROM: Mapping[str, tuple[str, ...]] = {"build": (), "probe": (), "mix": ("build", "probe"), "train": ("mix",)}


def _complete(home: Path, stage: str, key: str) -> Path | None:
    """Return a stage's output if it was made with the same key and still is what its manifest says."""
    entry = _read_state(home).get(stage)
    if not isinstance(entry, dict) or entry.get("key") != key:
        return None
    try:
        output = inside(home, str(entry.get("output")))
        if stage in _DOCUMENT and is_remote(address_of(output)):
            _DOCUMENT[stage].load(output)  # rows and weights of a remote one are not fetched to find nothing to do
            return output
        _, problems = verify(output, Silence())
    except VersatuneError:
        return None
    return None if problems else output


def _remember(job: Job, stage: str, key: str, output: Path) -> None:
    if stage == "mix" and is_trial(job.config):
        return  # the newest mixture is still the one that is remembered
    state = _read_state(job.home)
    state[stage] = {"key": key, "output": os.path.relpath(output, job.home)}
    write_atomic(job.home / "stages.json", orjson.dumps(state, option=orjson.OPT_INDENT_2))


def _read_state(home: Path) -> dict[str, Any]:
    try:
        value = orjson.loads((home / "stages.json").read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


def _file_key(path: str) -> list[Any]:
    """Return what changes when a file does, without reading it; a remote file's size and name must do."""
    if "://" in path:
        return [path]
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns]


def _model_key(job: Job) -> list[Any]:
    model = job.config.model
    if model is None:
        return []
    folder = Path(job.config.resolve(model.path))
    files = sorted(file for file in folder.glob("*") if file.is_file()) if folder.is_dir() else []
    template = template_file(job.config)
    if template is not None and template.is_file():
        files.append(template)
    return [model.model_dump(mode="json"), [[file.name, *_file_key(str(file))] for file in files]]


def _classifier_key(job: Job) -> list[Any]:
    from versatune.transforms.classifier.fasttext_classifier import card_path

    path = job.config.classifier_path
    # What becomes of undetermined rows is the build's alone.
    settings = job.config.classifier.model_dump(mode="json", exclude={"undetermined"})
    if path is None:
        return [settings]
    files = [path] if "://" in path else [file for file in (path, card_path(path)) if os.path.isfile(file)]
    return [settings, [_file_key(file) for file in files]]  # a file that is not there is the stage's to name


def _content(file: Path) -> str:
    return file.read_text() if file.is_file() else ""
