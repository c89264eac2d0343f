"""What a command says at its end: a title, a table for people, and the same as a dictionary for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType

from versatune.checks.report import CheckReport
from versatune.cli.terminal import printable, table
from versatune.schemas.dataset import DECONTAMINATE, DatasetManifest, SourceBooks
from versatune.schemas.labels import LabelReport
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.probe import Estimate, ProbeReport
from versatune.schemas.run import ExportAudit, RunRecord

Summary = tuple[str, RenderableType | None, dict[str, Any]]


def summarize_check(report: CheckReport) -> Summary:
    """Show what is fine, and what a user should know before the stages work."""
    result = {
        "stages": report.stages,
        "facts": report.facts,
        "problems": [asdict(problem) for problem in report.problems],
    }
    lines = [
        *(f"{name}: {text}" for name, text in report.facts.items()),
        f"nothing stands in the way of {', '.join(report.stages)}"
        if report.stages
        else "every stage is complete and unchanged",
    ]
    return "\n".join(lines), None, result


def summarize_build(file: Path) -> Summary:
    """Show the books of a dataset version, what was rejected and cleaned, and what it holds of each domain."""
    manifest = DatasetManifest.load(file)
    rows = [[books.source, *_columns(books).values()] for books in manifest.books]
    totals = {name: sum(_columns(books)[name] for books in manifest.books) for name in _BOOKS}
    refused = [entry.refused for entry in manifest.inputs if entry.refused]
    result = {
        "manifest": str(file),
        "version": manifest.version,
        "digest": manifest.digest,
        "parent": manifest.parent,
        **totals,
        "books": [books.model_dump(mode="json") for books in manifest.books],
        "refused": refused,
        "benchmarks": {entry.name: entry.hits for entry in manifest.decontamination.benchmarks}
        if manifest.decontamination
        else None,
        "domains": {split: manifest.totals(split) for split in ("train", "validation")},
        "undetermined": {"rows": manifest.undetermined_rows, "shares": manifest.undetermined_shares},
        "environment": manifest.environment,
    }
    total = [["total", *totals.values()]] if len(rows) != 1 else []
    tables = [
        table("books", ["source", *_BOOKS.values()], [*rows, *total]),
        *_count_tables(manifest),
        _domains(manifest),
    ]
    title = f"dataset {manifest.name} {manifest.version}, digest {manifest.digest[:12]}: {file}"
    if manifest.rejects:
        title = f"rejected rows, each with its reason: versatune rejects {file.parent}\n{title}"
    return title, Group(*tables), result


_BOOKS = {
    "read": "rows read",
    "expanded": "further",
    "written": "written",
    "duplicates": "duplicates",
    "near_duplicates": "near",
    "rejected": "rejected",
}
_SHOWN = 10


def _columns(books: SourceBooks) -> dict[str, int]:
    values = ((name, getattr(books, name)) for name in _BOOKS)
    return {name: sum(value.values()) if isinstance(value, dict) else value for name, value in values}


def _count_tables(manifest: DatasetManifest) -> list[RenderableType]:
    """Show the most frequent reasons of rejection, and everything that was counted."""
    tables: list[RenderableType] = []
    reasons = sum((Counter(books.rejected) for books in manifest.books), Counter[str]())
    if reasons:
        rows: list[list[Any]] = [[reason, count] for reason, count in reasons.most_common(_SHOWN)]
        if len(reasons) > _SHOWN:
            rows.append([f"{len(reasons) - _SHOWN} more reasons", sum(reasons.values()) - sum(row[1] for row in rows)])
        tables.append(table("why rows were rejected", ["reason", "rows"], rows))
    benchmarks = manifest.decontamination.benchmarks if manifest.decontamination else []
    counts = sum((Counter(books.counts) for books in manifest.books), Counter[str]())
    for benchmark in benchmarks:
        counts.pop(DECONTAMINATE + benchmark.name, None)  # has a table of its own
    if counts:
        tables.append(table("counted on the way", ["what", "count"], [list(entry) for entry in counts.most_common()]))
    if benchmarks:
        hits = [[entry.name, entry.items, entry.too_short, entry.hits] for entry in benchmarks]
        tables.append(table("benchmarks", ["name", "texts", "too short to look for", "rows rejected"], hits))
    return tables


def _domains(manifest: DatasetManifest) -> RenderableType:
    train, validation = manifest.totals("train"), manifest.totals("validation")
    unsure = manifest.undetermined_shares
    rows = [
        [domain, sums["rows"], validation[domain]["rows"], sums["tokens"], sums["loss_tokens"], unsure[domain]]
        for domain, sums in train.items()
    ]
    columns = ["domain", "rows", "held out", "tokens", "loss tokens", "undetermined"]
    return table("domains", columns, rows)


def summarize_probe(file: Path) -> Summary:
    """Show the base model's distribution with its intervals, and what the other estimates say; its page lies beside the report."""
    report, page = ProbeReport.load(file), str(file.with_name("probe.html"))
    chosen, others = report.estimate, [estimate for estimate in report.estimates if estimate.name != report.chosen]
    vectors = [chosen.shares, chosen.lower, chosen.upper, *(estimate.shares for estimate in others)]
    half_width = max(report.looks[-1].half_widths)
    result = {
        "report": str(file),
        "page": page,
        "digest": report.digest,
        "distribution": dict(zip(report.domains, chosen.shares, strict=True)),
        "intervals": _intervals(report, chosen),
        "samples": report.samples,
        "tokens_per_second": report.environment.get("tokens_per_second"),
        "stopped_by": report.stopped_by,
        "rounds": report.looks[-1].round,
        "half_width": half_width,
        "counted": report.counted,
        "rejected": report.rejected,
        "undetermined": report.undetermined,
        "undetermined_below": report.undetermined_below,
        "chosen": report.chosen,
        "estimates": {
            estimate.name: {
                "distribution": dict(zip(report.domains, estimate.shares, strict=True)),
                "intervals": _intervals(report, estimate),
                "covers": estimate.covers,
            }
            for estimate in report.estimates
        },
        "refused": report.refused,
        "token_distribution": dict(zip(report.domains, report.tokens.shares, strict=True)),
        "environment": report.environment,
    }
    columns = ["domain", chosen.name, "lower", "upper", *(estimate.name for estimate in others)]
    rows = [list(row) for row in zip(report.domains, *vectors, strict=True)]
    why = "the intervals are narrow enough" if report.stopped_by == "precision" else "every planned sample is drawn"
    lines = [f"no {name} estimate: {printable(reason)}" for name, reason in report.refused.items()]
    lines += [
        f"round {report.looks[-1].round} of {report.rounds.max_rounds} was the last, because {why}; sampling alone leaves +-{half_width:.4f} at most",
        f"probe of {report.model.name}, {report.counted:,} of {report.samples:,} samples counted: {file}",
        f"page: {page}",
    ]
    return "\n".join(lines), table(f"{chosen.name} estimate, and the others", columns, rows), result


def _intervals(report: ProbeReport, estimate: Estimate) -> dict[str, list[float]]:
    return {
        domain: [lower, upper]
        for domain, lower, upper in zip(report.domains, estimate.lower, estimate.upper, strict=True)
    }


def summarize_labels(file: Path) -> Summary:
    """Show what a judge said, and who agrees with it."""
    report = LabelReport.load(file)
    others = {"the classifier": report.fasttext, "the rows' own domains": report.given}
    result = {
        "report": str(file),
        "digest": report.digest,
        "labelled": str(file.parent / report.labelled.path),
        "rows": report.rows,
        "rows_labelled": report.labelled.rows,
        "rows_undetermined": report.undetermined.rows,
        "rows_left_out": report.left_out,
        "rows_by_domain": report.rows_by_domain,
        "position_bias": report.position_bias,
        "same_choice": report.same_choice,
        "unlisted_codes": report.unlisted_codes,
        "fasttext": report.fasttext.model_dump(mode="json") if report.fasttext else None,
        "given": report.given.model_dump(mode="json") if report.given else None,
        "environment": report.environment,
    }
    columns = ["agreement with", "rows", "accuracy", "kappa", "of the determined"]
    agreements = [
        [who, one.rows, one.accuracy, one.kappa, one.determined_accuracy] for who, one in others.items() if one
    ]
    domains = table("labelled rows", ["domain", "rows"], [list(entry) for entry in report.rows_by_domain.items()])
    bias = "" if report.position_bias is None else f", position bias {report.position_bias:.3f}"
    title = (
        f"{report.labelled.rows:,} of {report.rows:,} rows labelled by {report.judge.name}, {report.undetermined.rows:,} undetermined"
        f"{f', {report.left_out:,} left out' if report.left_out else ''}{bias}: {file}"
    )
    return title, Group(domains, *([table("who agrees", columns, agreements)] if agreements else [])), result


def summarize_mixture(file: Path) -> Summary:
    """Show what the first segment takes from each domain."""
    mixture = MixtureManifest.load(file)
    columns = ["domain", "available", "asked for", "count", "realised", "passes"]
    rows = [
        [
            plan.domain,
            getattr(plan, mixture.unit),
            plan.requested_weight,
            plan.count,
            plan.realised_weight,
            f"{plan.passes:.2f}",
        ]
        for plan in mixture.plan
    ]
    result = {
        "mixture": str(file),
        "digest": mixture.digest,
        "policy": mixture.policy,
        "unit": mixture.unit,
        "weights": {plan.domain: plan.requested_weight for plan in mixture.plan},
        "realised": {plan.domain: plan.realised_weight for plan in mixture.plan},
        "counts": {plan.domain: plan.count for plan in mixture.plan},
        "shortfall": mixture.shortfall,
        "segments": mixture.segments,
    }
    short = f", {mixture.shortfall:,} short of the budget" if mixture.shortfall else ""
    title = f"mixture {mixture.digest[:12]}, {mixture.segments} segments{short}: {file}"
    return title, table(f"one segment, {mixture.unit}, policy {mixture.policy}", columns, rows), result


def summarize_run(file: Path) -> Summary:
    """Show held-out losses before and after."""
    record = RunRecord.load(file)
    rows = [
        [domain, before, after, None if before is None or after is None else after - before]
        for domain, before, after in zip(record.domains, record.loss_before, record.loss_after, strict=True)
    ]
    model = file.parent / record.model
    result = {
        "run": str(file),
        "digest": record.digest,
        "model": str(model),
        "loss_before": dict(zip(record.domains, record.loss_before, strict=True)),
        "loss_after": dict(zip(record.domains, record.loss_after, strict=True)),
        "steps": record.steps,
        "environment": record.environment,
        "audit": record.audit.model_dump(mode="json"),
    }
    shown = table("held-out loss, nats per loss token", ["domain", "before", "after", "change"], rows)
    title = f"{describe_audit(record.audit)}\ntrained model after {record.steps:,} steps: {model}"
    return title, shown, result


def describe_audit(audit: ExportAudit) -> str:
    """Say what the audit of an export looked at, and how far the loss was off."""
    rows = sum(domain.rows for domain in audit.domains)
    return (
        f"audit: {audit.tensors:,} tensors and the loss of {rows:,} held-out rows, at most {audit.largest_difference:.1g} of {audit.tolerance:g}"
        f" nats per token apart, {audit.seconds:.0f} s"
    )


def summarize_all(outputs: dict[str, tuple[Path, bool]], page: Path) -> Summary:
    """Show where everything is, and the losses."""
    results: dict[str, Any] = {}
    for stage, (file, skipped) in outputs.items():
        results[stage] = {**_SUMMARIES[stage](file)[2], "skipped": skipped}
    _, losses, _ = summarize_run(outputs["train"][0])
    places = [f"{stage}: {file}" for stage, (file, _) in outputs.items()]
    return "\n".join([*places, f"report: {page}"]), losses, {**results, "report": str(page)}


_SUMMARIES = {
    "build": summarize_build,
    "probe": summarize_probe,
    "mix": summarize_mixture,
    "train": summarize_run,
}
