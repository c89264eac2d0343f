"""Documents pin their own content."""

from pathlib import Path

import orjson
import pytest

from versatune.schemas.document import Document
from versatune.schemas.errors import DataError, IntegrityError
from versatune.schemas.files import sha256_json
from versatune.schemas.probe import Estimate, ModelRecord, ProbeReport, Rounds, TokenShares, Unlabelled


def _report(created_at: str = "2026-01-01", seed: int = 1) -> ProbeReport:
    estimate = Estimate(
        name="soft", shares=[0.25, 0.75], standard_errors=[0.1, 0.1], sampling_errors=[0.1, 0.1], lower=[0.0, 0.5], upper=[0.5, 1.0],
        covers="sampling",
    )  # fmt: skip
    return ProbeReport.create(
        created_at=created_at, environment={}, domains=["law", "code"], prompt_token_id=1, prompt_token="<s>",
        model=ModelRecord(name="m", revision=None, weights_sha256="0" * 64), sampling={}, seed=seed, samples=2, counted=2,
        rounds=Rounds(samples_per_round=2, min_rounds=1, max_rounds=1, half_width=None, max_change=0.1), looks=[], stopped_by="budget",
        rejected={}, undetermined=0, undetermined_below=0.4, finish_reasons={}, alpha=0.05, estimates=[estimate], refused={},
        unlabelled=Unlabelled(lower=[0.0, 0.5], upper=[0.5, 1.0]),
        tokens=TokenShares(shares=[0.25, 0.75], mean_tokens=[9.0, 9.0], truncated=0.0), chosen="soft",
        classifier_sha256="0" * 64, generations="g", generations_sha256="1" * 64,
    )  # fmt: skip


def _changed(report: Document, **changes: object) -> bytes:
    return orjson.dumps(report.model_dump(mode="json") | changes)


def test_a_document_survives_its_file(tmp_path: Path) -> None:
    report = _report()
    report.write(tmp_path / "probe.json")
    assert ProbeReport.load(tmp_path / "probe.json") == report
    assert report.distribution == [0.25, 0.75]


def test_a_time_stamp_is_outside_the_digest_and_a_seed_inside() -> None:
    assert _report(created_at="2030-01-01").digest == _report().digest
    assert _report(seed=2).digest != _report().digest
    assert _report(created_at="2030-01-01").checksum != _report().checksum


def test_a_change_in_place_seals_the_document_anew() -> None:
    changed = _report().changed(seed=2)
    assert (changed.digest, changed.checksum) == (_report(seed=2).digest, _report(seed=2).checksum)
    assert ProbeReport.parse(changed.to_bytes(), "p.json") == changed


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"samples": 3}, IntegrityError, "does not match its digest"),
        ({"created_at": "2030-01-01"}, IntegrityError, "does not match its checksum"),
        ({"environment": {"workers": 9}}, IntegrityError, "does not match its checksum"),
        ({"checksum": "0"}, IntegrityError, "does not match its checksum"),
        ({"format_version": 1}, DataError, "format_version is 1; this versatune reads version 4 and 3 of"),
        ({"format_version": 99}, DataError, "format_version is 99; this versatune reads version 4 and 3 of"),
        ({"kind": "versatune/dataset"}, DataError, "expected 'versatune/probe'"),
        ({"sampels": 3}, DataError, "unknown key 'sampels'; did you mean 'samples'?"),
        ({"samples": "x"}, DataError, "samples is 'x'"),
        ({"generations_sha256": None}, DataError, "key 'generations_sha256' is missing"),
        ({"generations_sha256": "2" * 64}, IntegrityError, "does not match its checksum"),
        ({"format_version": 3}, DataError, "unknown key 'generations_sha256' of format_version 3"),
        (
            {"generations": "../g"},
            DataError,
            "generations: '../g' is no name of a file below the document's own directory",
        ),
    ],
)
def test_a_document_that_is_not_what_it_says_is_refused(
    changes: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as caught:
        ProbeReport.parse(_changed(_report(), **changes), "p.json")
    assert said in str(caught.value)
    assert "p.json" in str(caught.value)


def test_a_missing_document_and_a_broken_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file; expected a versatune/probe"):
        ProbeReport.load(tmp_path / "probe.json")
    with pytest.raises(DataError, match="not JSON"):
        ProbeReport.parse(b"{", "p.json")


def test_a_document_of_an_earlier_format_is_read_and_says_what_it_does_not_pin() -> None:
    value = orjson.loads(_report().to_bytes())
    del value["generations_sha256"]
    value["format_version"] = 3
    said = {key: entry for key, entry in value.items() if key not in ("digest", "checksum")}
    outside = ("created_at", "environment", "model_facts", "generations")
    value["digest"] = sha256_json({key: entry for key, entry in said.items() if key not in outside})
    value["checksum"] = sha256_json(said | {"digest": value["digest"]})
    old = ProbeReport.parse(orjson.dumps(value), "p.json")
    assert old.unpinned and not _report().unpinned
    assert ProbeReport.parse(old.to_bytes(), "p.json") == old
    assert old.digest == _report().digest, "what was added is outside the digest"
    with pytest.raises(IntegrityError, match="checksum"):
        ProbeReport.parse(orjson.dumps(value | {"created_at": "2030"}), "p.json")
