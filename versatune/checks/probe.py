"""What a probe refuses before its first sample."""

from __future__ import annotations

from versatune.checks.report import Findings
from versatune.checks.subject import Subject
from versatune.pipelines.probe_settings import check_settings


def settings(subject: Subject) -> Findings:
    """Samples, rounds, prompt, estimator and context that do not go together."""
    config, classifier = subject.config, subject.classifier.value
    if classifier is not None and (config.model is None or subject.folder.value is not None):
        check_settings(config, subject.folder.value if config.model else None, classifier)
    yield from ()
