"""All checks, in the order of the stages: each is small, looks and loads nothing heavy that it does not need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from versatune.checks import inputs, machine, mixture, model, probe
from versatune.checks.report import CheckReport, Fact, Findings, Problem
from versatune.checks.subject import Subject
from versatune.schemas.errors import VersatuneError

STAGES = ("build", "probe", "mix", "train")


@dataclass(frozen=True, kw_only=True)
class _Check:
    """A function, the stages it is for, and the key that is to blame where it raises."""

    find: Callable[[Subject], Findings]
    key: str
    stages: tuple[str, ...]
    wanted: Callable[[Subject], bool] = lambda subject: True

    def stage(self, subject: Subject) -> str | None:
        """Return the first of its stages that is still to do; None where it need not be asked."""
        found = next((stage for stage in self.stages if stage in subject.stages), None)
        return found if found and self.wanted(subject) else None


def _needs_weights(subject: Subject) -> bool:
    return subject.own_engine or "train" in subject.stages


def _trains(subject: Subject) -> bool:
    return subject.tokenizes or "train" in subject.stages


_CHECKS = (
    _Check(find=inputs.output, key="output", stages=STAGES),
    _Check(find=inputs.sources, key="sources", stages=("build",)),
    _Check(find=inputs.licenses, key="build.licenses", stages=("build",)),
    _Check(find=inputs.classifier, key="classifier", stages=("build", "probe")),
    _Check(find=inputs.cleaning, key="build.clean", stages=("build",)),
    _Check(find=inputs.benchmarks, key="build.decontaminate.benchmarks", stages=("build",)),
    _Check(find=model.tokenizer, key="model", stages=("build",), wanted=lambda subject: subject.tokenizes),
    _Check(find=model.trainable, key="model.path", stages=("build", "train"), wanted=_trains),
    _Check(find=machine.packages, key="machine", stages=("probe", "train")),
    _Check(find=model.files, key="model.path", stages=("probe", "train"), wanted=_needs_weights),
    _Check(find=model.known_type, key="model", stages=("probe", "train"), wanted=_needs_weights),
    _Check(find=probe.settings, key="probe", stages=("probe",)),
    _Check(find=machine.memory, key="probe.engine", stages=("probe",)),
    _Check(find=mixture.unit, key="mix.unit", stages=("mix",)),
    _Check(find=mixture.named_domains, key="mix", stages=("mix",)),
    _Check(find=mixture.empty_domains, key="mix.on_empty", stages=("mix",)),
    _Check(find=mixture.composed, key="mix", stages=("mix",)),
    _Check(find=model.tokens, key="build.tokenize", stages=("train",)),
    _Check(find=model.rows_of_a_dataset, key="model", stages=("mix", "train")),
    _Check(find=mixture.held_out, key="build.validation_fraction", stages=("train",)),
    _Check(find=mixture.references, key="train.reference.losses", stages=("train",)),
    _Check(find=machine.device, key="train.device", stages=("train",)),
    _Check(find=machine.disk, key="output", stages=("build", "train")),
)


def preflight(subject: Subject) -> CheckReport:
    """Look for everything that a stage still to do would refuse. Nothing is written, no weights are loaded."""
    report = CheckReport(stages=[stage for stage in STAGES if stage in subject.stages])
    for check in _CHECKS:
        stage = check.stage(subject)
        for found in _found(check, stage, subject) if stage else ():
            if isinstance(found, Fact):
                report.facts[found.name] = found.text
            elif found.message not in {problem.message for problem in report.problems}:
                report.problems.append(found)
    report.problems.sort(key=lambda problem: STAGES.index(problem.stage))
    return report


def _found(check: _Check, stage: str, subject: Subject) -> list[Problem | Fact]:
    """Return what a check finds; what it raises is what the stage itself would raise."""
    found: list[Problem | Fact] = []
    try:
        found.extend(check.find(subject))
    except VersatuneError as error:
        found.append(Problem(stage=stage, key=check.key, message=str(error)))
    except ImportError as error:
        message = f"it needs the package {error.name}: pip install 'versatune[train]'"
        found.append(Problem(stage=stage, key="machine", message=message))
    except OSError as error:
        found.append(Problem(stage=stage, key=check.key, message=f"{error.filename}: {error.strerror}"))
    return found
