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
    """A function, the key that is to blame where it raises, and when it is asked."""

    find: Callable[[Subject], Findings]
    key: str
    stage: str
    wanted: Callable[[Subject], bool]


def _in(*stages: str) -> Callable[[Subject], bool]:
    return lambda subject: bool(subject.stages.intersection(stages))


_CHECKS = (
    _Check(find=inputs.output, key="output", stage="build", wanted=_in(*STAGES)),
    _Check(find=mixture.place, key="output", stage="mix", wanted=_in("mix", "train")),
    _Check(find=inputs.sources, key="sources", stage="build", wanted=_in("build")),
    _Check(find=inputs.licenses, key="build.licenses", stage="build", wanted=_in("build")),
    _Check(find=inputs.classifier, key="classifier", stage="build", wanted=_in("build", "probe")),
    _Check(find=inputs.cleaning, key="build.clean", stage="build", wanted=_in("build")),
    _Check(find=inputs.benchmarks, key="build.decontaminate.benchmarks", stage="build", wanted=_in("build")),
    _Check(find=model.template_file, key="model.chat_template", stage="build", wanted=lambda s: s.tokenizes),
    _Check(
        find=model.tokenizer, key="model", stage="build", wanted=lambda s: s.tokenizes and s.folder.value is not None
    ),
    _Check(find=machine.packages, key="machine", stage="probe", wanted=_in("probe", "train")),
    _Check(find=model.files, key="model.path", stage="probe", wanted=lambda s: s.own_engine or "train" in s.stages),
    _Check(find=model.known_type, key="model", stage="probe", wanted=lambda s: s.own_engine or "train" in s.stages),
    _Check(find=probe.settings, key="probe", stage="probe", wanted=_in("probe")),
    _Check(find=mixture.unit, key="mix.unit", stage="mix", wanted=_in("mix")),
    _Check(find=mixture.target, key="mix", stage="mix", wanted=_in("mix")),
    _Check(find=mixture.composed, key="mix", stage="mix", wanted=_in("mix")),
    _Check(find=model.tokens, key="build.tokenize", stage="train", wanted=_in("train")),
    _Check(find=model.rows_of_a_dataset, key="model", stage="train", wanted=_in("mix", "train")),
    _Check(find=mixture.held_out, key="build.validation_fraction", stage="train", wanted=_in("train")),
    _Check(find=mixture.references, key="train.reference.losses", stage="train", wanted=_in("train")),
    _Check(find=model.generation_settings, key="model", stage="train", wanted=_in("train")),
    _Check(find=machine.device, key="train.device", stage="train", wanted=_in("train")),
    _Check(find=machine.disk, key="output", stage="train", wanted=_in("build", "train")),
)


def preflight(subject: Subject) -> CheckReport:
    """Look for everything that a stage still to do would refuse. Nothing is written, no weights are loaded."""
    report = CheckReport(stages=[stage for stage in STAGES if stage in subject.stages])
    for check in _CHECKS:
        if not check.wanted(subject):
            continue
        for found in _found(check, subject):
            if isinstance(found, Fact):
                report.facts[found.name] = found.text
            elif found.message not in {problem.message for problem in report.problems}:
                report.problems.append(found)
    report.problems.sort(key=lambda problem: STAGES.index(problem.stage))
    return report


def _found(check: _Check, subject: Subject) -> list[Problem | Fact]:
    """Return what a check finds; what it raises is what the stage itself would raise, one problem a line."""
    found: list[Problem | Fact] = []
    try:
        found.extend(check.find(subject))
    except VersatuneError as error:
        found.append(Problem(stage=check.stage, key=check.key, message=str(error)))
    except OSError as error:
        found.append(Problem(stage=check.stage, key=check.key, message=f"{error.filename}: {error.strerror}"))
    return found
