"""Labels from a judge: read texts, ask about each once, put the answers together, compare, write."""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import orjson
from apache_beam.options.pipeline_options import PipelineOptions

from versatune.mixing.agreement import accuracy, contingency, kappa
from versatune.models.files import check_model_folder, context_length, model_digest
from versatune.models.look import look
from versatune.models.source import model_folder
from versatune.models.tokenizer import load_tokenizer
from versatune.pipelines.execute import execute
from versatune.pipelines.options import pipeline_options, runner_name
from versatune.pipelines.watch import watched
from versatune.schemas.config import Config, ModelConfig
from versatune.schemas.errors import ConfigError, RunError
from versatune.schemas.files import sha256_bytes, sha256_json, write_atomic
from versatune.schemas.labels import Agreement, JudgeRecord, LabelFile, LabelReport
from versatune.schemas.lock import only_one
from versatune.schemas.model_facts import ModelFacts
from versatune.schemas.progress import Progress
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY, Taxonomy
from versatune.transforms.classifier.fasttext_classifier import DomainClassifier, shared_classifier, text_view
from versatune.transforms.engines.batch_handler import model_name
from versatune.transforms.engines.endpoint import check_endpoint
from versatune.transforms.engines.vllm_engine import VllmSettings, engine_progress, stop_engines
from versatune.transforms.labelling.ask import (
    AskJudge,
    Batch,
    Judge,
    Question,
    keep_answers,
    logits_of,
    plan_batches,
    read_answers,
)
from versatune.transforms.labelling.endpoint_judge import EndpointJudge, EndpointJudgePlan
from versatune.transforms.labelling.judge import Choices, Floats, choices, position_bias, probabilities, same_choice
from versatune.transforms.labelling.label_rows import LabelRow, LabelRows, read_label_rows
from versatune.transforms.labelling.local_judge import LocalJudge, LocalJudgePlan, plan_questions
from versatune.transforms.transport.model_fetch import fetch_model
from versatune.transforms.transport.part_store import Kept, count_kept, sweep

_FORMAT = 1
_SPARE_TOKENS = 8
_CLASSIFY_ROWS = 1024
_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class LabelPlan:
    """Everything that is decided before the first text is shown.

    Attributes:
        prompt_sha256: of the questions as the model gets them.
        start: starts the judge on a worker.
        facts: what the files of a local judge say.
    """

    config: Config
    choices: Choices
    judge: JudgeRecord
    prompt_sha256: str
    text_tokens: int
    classifier: DomainClassifier | None
    start: Callable[[], Judge]
    facts: ModelFacts | None = None

    @property
    def store_key(self) -> str:
        """The name of everything that decides an answer but the text."""
        judge = self.judge.model_dump(mode="json", exclude={"name"} if self.judge.weights_sha256 else set())
        return sha256_json([_FORMAT, judge, self.prompt_sha256, self.text_tokens])[:16]


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What the judge says of each row.

    Attributes:
        each: (texts, orders, k) probabilities of the different texts, in taxonomy order.
        probs: (rows, k), the mean over the orders; uniform for a blank text.
        undetermined: (rows,), where the highest one is too low, or nobody was asked.
        unlisted: how many numbers behind ``each`` are bounds.
    """

    each: Floats
    probs: Floats
    undetermined: npt.NDArray[np.bool_]
    unlisted: int


def plan_local(config: Config, model: str) -> LabelPlan:
    """Check everything that can be checked without an engine.

    Args:
        config: sections ``label``, ``taxonomy`` and ``classifier``.
        model: a folder, relative to the working directory, or a hub id.

    Raises:
        ConfigError, DataError: the taxonomy, the model or the classifier cannot be used.
    """
    wanted = choices(config.taxonomy, config.label.descriptions)
    folder = model_folder(Config(name="judge", model=ModelConfig(path=model)), needed_for="a judge", fetch=fetch_model)
    check_model_folder(folder)
    questions = plan_questions(load_tokenizer(folder, trust_remote_code=False), wanted, model)
    engine = config.label.engine
    lengths = [length for length in (context_length(folder), engine.max_model_len) if length is not None]
    text_tokens = questions.text_tokens(config.label.max_text_tokens, min(lengths, default=None))
    settings = VllmSettings(
        model=str(folder),
        trust_remote_code=False,
        dtype=engine.dtype,
        max_model_len=min([questions.overhead + text_tokens + _SPARE_TOKENS, *lengths]),
        max_num_seqs=min(engine.max_num_seqs, config.label.batch_size * len(wanted.rotations)),
        gpu_memory_utilization=engine.gpu_memory_utilization,
        cpu_kv_cache_gib=engine.cpu_kv_cache_gib,
        tensor_parallel_size=engine.tensor_parallel_size,
        enforce_eager=engine.enforce_eager,
        float32_logits=True,
    )
    plan = LocalJudgePlan(settings=settings, questions=questions, text_tokens=text_tokens)
    return LabelPlan(
        config=config,
        choices=wanted,
        judge=JudgeRecord(
            backend="vllm",
            name=Path(model).name,
            weights_sha256=model_digest(folder),
            endpoint=None,
            dtype=engine.dtype,
        ),
        facts=look(folder, model),
        prompt_sha256=sha256_json([questions.heads, questions.tails, questions.code_ids]),
        text_tokens=text_tokens,
        classifier=_classifier(config),
        start=partial(LocalJudge, plan),
    )


def plan_endpoint(config: Config, model: str, url: str) -> LabelPlan:
    """Check everything that can be checked without a request; see :func:`plan_local`.

    Args:
        model: the name that the endpoint knows.
        url: of an OpenAI-compatible API, such as http://localhost:8000/v1.
    """
    check_endpoint(url, "--endpoint")
    label, wanted = config.label, choices(config.taxonomy, config.label.descriptions)
    plan = EndpointJudgePlan(
        url=url,
        model=model,
        choices=wanted,
        text_tokens=label.max_text_tokens,
        concurrency=label.concurrency,
        timeout_seconds=label.timeout_seconds,
    )
    return LabelPlan(
        config=config,
        choices=wanted,
        judge=JudgeRecord(backend="endpoint", name=model, weights_sha256=None, endpoint=url, dtype=None),
        prompt_sha256=sha256_json(wanted.record()),
        text_tokens=label.max_text_tokens,
        classifier=_classifier(config),
        start=partial(EndpointJudge, plan),
    )


def run(
    plan: LabelPlan,
    files: Sequence[str],
    home: Path,
    *,
    by_digest: bool = True,
    beam_args: Sequence[str] = (),
    progress: Progress,
) -> Path:
    """Label the rows of some files; return the path of ``labels.json``.

    Answers are kept by judge, question and text: a second run, one with more rows and one that was killed ask only what is
    missing; if nothing is, the judge is not started.

    Args:
        plan: from :func:`plan_local` or :func:`plan_endpoint`.
        files: see :func:`versatune.transforms.labelling.label_rows.read_label_rows`; relative to the working directory.
        home: a local directory; answers are kept in its ``answers/``.
        by_digest: write the results to a folder in ``home`` that is named by their digest; otherwise to ``home`` itself.
        beam_args: flags for Beam; if they name a runner, its workers must see the store and the model folder.
        progress: told of the texts done.

    Raises:
        ConfigError, DataError: the files cannot be used.
        RunError: the judge failed.
    """
    options, store = pipeline_options(beam_args, 1), str(home / "answers" / plan.store_key)
    given = read_label_rows(files, Path.cwd())
    with only_one(home, "label"):
        texts = {row.key: row.text for row in given.rows if row.text.strip()}
        questions = [Question(key, text) for key, text in texts.items()]
        sweep(store)
        before = set(read_answers(store).table.column("key").to_pylist())
        batches = plan_batches(questions, before, plan.config.label.batch_size)
        missing = sum(map(len, batches))
        if batches:
            progress.say(f"label: asking {plan.judge.name} about {missing:,} texts, each in {_orders(plan)} orders")
            _ask(plan, batches, store, options, progress)
        else:
            progress.say(f"label: all {len(questions):,} answers are kept from an earlier run; the judge is not needed")
        kept = read_answers(store)
        absent = texts.keys() - set(kept.table.column("key").to_pylist())
        if absent:
            raise RunError(
                f"label: {len(absent)} of {len(texts)} answers are not in {store}; the workers of another machine must see"
                " the output directory. Run it again."
            )
        environment = {
            **_engine_record(kept),
            "runner": runner_name(options),
            "asked": missing,
            "reused": len(questions) - missing,
        }
        verdicts = _verdicts(plan, given.rows, list(texts), kept)
        report, files_of_rows = _report(plan, given, verdicts, environment, progress)
        folder = home / report.digest[:12] if by_digest else home
        (folder / "labels.json").unlink(missing_ok=True)  # a record never lies beside rows that are not its own
        for name, data in files_of_rows.items():
            write_atomic(folder / name, data)
        report.write(folder / "labels.json")
        return folder / "labels.json"


def graph(root: beam.Pipeline, batches: Sequence[Batch], start: Callable[[], Judge], judge: str, store: str) -> None:
    """Lay out the questions: from texts to kept answers."""
    (
        root
        | "PlanBatches" >> beam.Create(batches)
        | "AskJudge" >> AskJudge(start=start, judge=judge)
        | "KeepBatch" >> beam.Map(keep_answers, directory=store)
    )


def agreement(
    probs: Floats, undetermined: npt.NDArray[np.bool_], others: Sequence[int | None], k: int
) -> Agreement | None:
    """Compare the judge's most probable domains with others; None where nobody else says anything.

    Args:
        probs: (n, k) of the judge.
        undetermined: (n,), where it is not sure.
        others: n domains, None where there is none.
    """
    has = np.array([other is not None for other in others], np.bool_)
    if not has.any():
        return None
    ours, sure = probs[has].argmax(axis=1), ~undetermined[has]
    theirs = np.array([other for other in others if other is not None], np.intp)
    table, certain = contingency(ours, theirs, k), contingency(ours[sure], theirs[sure], k)
    return Agreement(
        rows=int(has.sum()),
        accuracy=accuracy(table),
        kappa=kappa(table),
        determined_rows=int(sure.sum()),
        determined_accuracy=accuracy(certain),
        table=table.tolist(),
    )


def _orders(plan: LabelPlan) -> int:
    return len(plan.choices.rotations)


def _classifier(config: Config) -> DomainClassifier | None:
    """Return the classifier to compare with; the bundled one knows no domains but the default ones."""
    if config.classifier_path is None and set(config.taxonomy.domains) != set(DEFAULT_TAXONOMY.domains):
        return None
    return shared_classifier(config.classifier_path, config.taxonomy, config.classifier.sha256)


def _ask(plan: LabelPlan, batches: Sequence[Batch], store: str, options: PipelineOptions, progress: Progress) -> None:
    total = sum(map(len, batches))
    before, done = count_kept(store), 0.0
    progress.begin("label", total, "texts")

    def look() -> None:
        nonlocal done
        open_ = engine_progress().samples / _orders(plan)
        # A batch that has just ended is in neither number for a moment; never go back.
        done = max(done, min(total, count_kept(store) - before + open_))
        progress.advance_to(done)

    try:
        with watched(look, progress), model_name("judge") as judge:
            execute("label", options, lambda root: graph(root, batches, plan.start, judge, store))
    finally:
        stop_engines()


def _engine_record(kept: Kept) -> dict[str, Any]:
    """Sum up what the judge said of itself in each kept batch."""
    seconds, tokens, texts = (
        sum(batch.get(name, 0) for batch in kept.batches) for name in ("seconds", "tokens", "texts")
    )
    names = {
        name: sorted({str(batch[name]) for batch in kept.batches if name in batch})
        for name in ("engine", "torch", "device")
    }
    return {
        **names,
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
        "texts_per_second": round(texts / seconds, 2) if seconds else None,
    }


def _verdicts(plan: LabelPlan, rows: Sequence[LabelRow], keys: Sequence[str], kept: Kept) -> Verdicts:
    """Put the answers together; rows with the same text share one."""
    k, at = len(plan.choices.domains), {key: i for i, key in enumerate(keys)}
    position = {key: i for i, key in enumerate(kept.table.column("key").to_pylist())}
    answers = kept.table.take([position[key] for key in keys]) if keys else kept.table.slice(0, 0)
    orders = plan.choices.rotations
    each = probabilities(logits_of(answers).reshape(len(keys), len(orders), k), orders)
    mean = np.vstack([each.mean(axis=1), np.full((1, k), 1.0 / k)])  # the last one is for texts nobody was asked about
    found = np.array([at.get(row.key, len(keys)) for row in rows], np.intp)
    probs = mean[found]
    sure = (probs.max(axis=1) >= plan.config.label.undetermined_below) & (found < len(keys))
    return Verdicts(each=each, probs=probs, undetermined=~sure, unlisted=sum(answers.column("unlisted").to_pylist()))


def _report(
    plan: LabelPlan, given: LabelRows, verdicts: Verdicts, environment: dict[str, Any], progress: Progress
) -> tuple[LabelReport, dict[str, bytes]]:
    """Compare; return the record, and the content of the files of rows by name."""
    taxonomy, rows, flags = plan.config.taxonomy, given.rows, verdicts.undetermined
    chosen = verdicts.probs.argmax(axis=1)
    known = [_index(taxonomy, row.given) for row in rows]
    compared = [at if row.text.strip() else None for row, at in zip(rows, known, strict=True)]
    fasttext = _classify(rows, plan.classifier, progress)
    lines = [
        _line(row, taxonomy.domains[domain], probs, bool(flag))
        for row, domain, probs, flag in zip(rows, chosen, verdicts.probs, flags, strict=True)
    ]
    files = {
        "labelled": _packed("labelled.jsonl.gz", [line for line, flag in zip(lines, flags, strict=True) if not flag]),
        "undetermined": _packed(
            "undetermined.jsonl.gz", [line for line, flag in zip(lines, flags, strict=True) if flag]
        ),
    }
    counts = Counter(taxonomy.domains[domain] for domain in chosen[~flags])
    report = LabelReport.create(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=environment,
        inputs=given.inputs,
        domains=list(taxonomy.domains),
        judge=plan.judge,
        judge_facts=plan.facts,
        questions=plan.choices.record(),
        prompt_sha256=plan.prompt_sha256,
        rotations=list(plan.choices.rotations),
        text_tokens=plan.text_tokens,
        undetermined_below=plan.config.label.undetermined_below,
        rows=len(rows) + given.left_out,
        texts=len(verdicts.each),
        **{name: record for name, (record, _) in files.items()},
        left_out=given.left_out,
        empty=sum(not row.text.strip() for row in rows),
        rows_by_domain={name: counts[name] for name in taxonomy.domains},
        unknown_given=sum(row.given is not None and at is None for row, at in zip(rows, known, strict=True)),
        unlisted_codes=verdicts.unlisted,
        position_bias=position_bias(verdicts.each),
        same_choice=same_choice(verdicts.each),
        classifier_sha256=plan.classifier.sha256 if plan.classifier else None,
        fasttext=agreement(verdicts.probs, flags, fasttext, len(taxonomy)),
        given=agreement(verdicts.probs, flags, compared, len(taxonomy)),
    )
    return report, {record.path: data for record, data in files.values()}


def _index(taxonomy: Taxonomy, name: str | None) -> int | None:
    try:
        return None if name is None else taxonomy.index(name)
    except ConfigError:
        return None


def _classify(rows: Sequence[LabelRow], classifier: DomainClassifier | None, progress: Progress) -> list[int | None]:
    """Return what the classifier says of each row; None of all rows if there is none, and of a blank one."""
    if classifier is None:
        return [None] * len(rows)
    progress.begin("compare", len(rows), "rows")
    out: list[int | None] = []
    for start in range(0, len(rows), _CLASSIFY_ROWS):
        texts = [text_view([row.text]) for row in rows[start : start + _CLASSIFY_ROWS]]
        chosen = classifier.predict(texts).argmax(axis=1).tolist()
        out += [at if text.strip() else None for at, text in zip(chosen, texts, strict=True)]
        progress.advance_to(len(out))
    progress.end()
    return out


def _line(row: LabelRow, domain: str, probs: Floats, undetermined: bool) -> bytes:
    value: dict[str, Any] = {
        "text": row.text,
        "domain": domain,
        "source": row.source,
        "probs": [round(float(p), _DIGITS) for p in probs],
        "undetermined": undetermined,
    }
    return orjson.dumps(value | ({"given": row.given} if row.given is not None else {}))


def _packed(name: str, lines: Iterable[bytes]) -> tuple[LabelFile, bytes]:
    """Return a file of lines and its record; the same lines give the same bytes."""
    buffer, rows = io.BytesIO(), 0
    with gzip.GzipFile(fileobj=buffer, mode="wb", filename="", mtime=0) as stream:
        for line in lines:
            stream.write(line + b"\n")
            rows += 1
    data = buffer.getvalue()
    return LabelFile(path=name, rows=rows, sha256=sha256_bytes(data)), data
