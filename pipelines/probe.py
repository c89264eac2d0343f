"""What a base model writes about when nobody asks (arXiv 2411.11266, knowledge detection): sample, label, look, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from versatune.pipelines.execute import execute
from versatune.pipelines.options import LOCAL_RUNNER, pipeline_options, runner_name
from versatune.pipelines.probe_plan import ProbePlan, engine_starter, plan_probe
from versatune.pipelines.probe_report import write_report
from versatune.pipelines.reach import check_reach
from versatune.pipelines.watch import watched
from versatune.schemas.config import Config
from versatune.schemas.errors import RunError
from versatune.schemas.lock import only_one
from versatune.schemas.progress import Progress
from versatune.transforms.engines.batch_handler import model_name
from versatune.transforms.engines.engine import Engine
from versatune.transforms.engines.vllm_engine import engine_progress, stop_engines
from versatune.transforms.probing.draw_rounds import DrawRound, Missing, spans
from versatune.transforms.probing.generation_store import failed_store, keep_outcomes, read_failures, read_store
from versatune.transforms.probing.look import Seen, forget_looks, look_at, newest_look, nothing_seen
from versatune.transforms.transport.mirror import fetched
from versatune.transforms.transport.part_store import count_kept, sweep
from versatune.transforms.transport.storage import is_local, use_flags

# A machine with several worker processes would load the model several times, and a GPU would not hold them.
_ONE_PROCESS_A_MACHINE = "--experiments=no_use_multiple_sdk_containers"


def run(config: Config, *, beam_args: Sequence[str] = (), progress: Progress) -> Path:
    """Probe the base model; return the path of ``probe.json``, of one on an object store that of a copy on this machine.

    Samples are kept by (model, prompt token, sampling, seed) and index: a second run, a larger one and one that was
    killed generate only what is missing; if nothing is, the engine is not started. The report depends on the samples alone.

    Args:
        config: sections ``model``, ``probe``, ``classifier`` and ``taxonomy``, ``seed``, ``output`` and ``name``.
        beam_args: flags for Beam; if they name a runner, its workers must see the output directory and the model.
        progress: told of the engine's start and of the samples done.

    Raises:
        ConfigError, DataError: the settings, the model or the classifier cannot be used.
        RunError: the engine failed, or fewer than two samples count.
    """
    return run_with(config, engine_starter, beam_args=beam_args, progress=progress)


def run_with(
    config: Config,
    starter: Callable[[ProbePlan], Callable[[], Engine]],
    *,
    beam_args: Sequence[str] = (),
    progress: Progress,
) -> Path:
    """Probe with any engine; ``starter`` gives what workers call to start one. See :func:`run`."""
    use_flags(beam_args)
    options = _options(beam_args)
    engine = [("model.path", config.model.path)] if config.model and config.probe.endpoint is None else []
    check_reach(options, [("output", config.home), *engine])
    plan = plan_probe(config)
    with _alone(plan):
        for store in (plan.store, failed_store(plan.store)):
            sweep(store)
        forget_looks(plan.store)
        before = _indices(plan)
        seen, number = _replay(plan, nothing_seen(plan.look), 1, before)
        if seen.stop or number > plan.look.rounds.max_rounds:
            progress.say("probe: all samples are kept from an earlier run; the engine is not needed")
        else:
            _draw_what_is_missing(plan, seen, number, before, options, starter, progress)
            seen, number = _replay(plan, seen, number, _indices(plan) | read_failures(plan.store).keys())
            _check_complete(plan, seen, number)
        return fetched(write_report(plan, seen, before=before, runner=runner_name(options)))


def graph(
    root: beam.Pipeline,
    plan: ProbePlan,
    seen: Seen,
    missing: Mapping[int, Missing],
    start: Callable[[], Engine],
    engine: str,
) -> None:
    """Lay out the rounds, one after the other.

    Args:
        root: the pipeline.
        plan: of the probe.
        seen: before the first of these rounds.
        missing: by number of the round, the samples to draw.
        start: starts an engine on a worker.
        engine: its name; see :class:`versatune.transforms.engines.batch_handler.BatchHandler`.
    """
    probe, state = plan.config.probe, root | "Begin" >> beam.Create([seen])
    hints = {"accelerator": probe.accelerator, "min_ram": probe.min_ram}
    for number, wanted in missing.items():
        state |= f"Round{number}" >> DrawRound(
            number=number,
            missing=wanted,
            plan=plan.look,
            seed=plan.config.seed,
            batch_size=probe.batch_size,
            start=start,
            engine=engine,
            keep=partial(keep_outcomes, directory=plan.store),
            hints={name: value for name, value in hints.items() if value is not None},
        )


def _options(beam_args: Sequence[str]) -> PipelineOptions:
    options = pipeline_options(beam_args, 1)
    if runner_name(options) == LOCAL_RUNNER:
        return options
    return pipeline_options([*beam_args, _ONE_PROCESS_A_MACHINE], 1)


def _alone(plan: ProbePlan) -> AbstractContextManager[None]:
    """Refuse a second probe of this directory; an object store has no lock."""
    home = f"{plan.config.home}/probe"
    return only_one(home, "probe") if is_local(home) else nullcontext()


def _indices(plan: ProbePlan) -> set[int]:
    """Return which samples are kept, of those that this probe may draw."""
    indices: set[int] = set(read_store(plan.store, 0, plan.look.samples).table.column("index").to_pylist())
    return indices


def _replay(plan: ProbePlan, seen: Seen, number: int, have: set[int]) -> tuple[Seen, int]:
    """Look at the rounds that are complete, from ``number`` on; return what is seen and the first round that was not looked at."""
    while not seen.stop and number <= plan.look.rounds.max_rounds and have.issuperset(plan.look.indices(number)):
        seen, number = look_at(seen, number, plan.look), number + 1
    return seen, number


def _missing(plan: ProbePlan, first: int, have: set[int]) -> dict[int, Missing]:
    return {
        number: spans([index for index in plan.look.indices(number) if index not in have])
        for number in range(first, plan.look.rounds.max_rounds + 1)
    }


def _draw_what_is_missing(
    plan: ProbePlan,
    seen: Seen,
    number: int,
    before: set[int],
    options: PipelineOptions,
    starter: Callable[[ProbePlan], Callable[[], Engine]],
    progress: Progress,
) -> None:
    """Draw; where all that is missing failed before, and fails again, the probe is as complete as it was."""
    missing = _missing(plan, number, before)
    failed = read_failures(plan.store).keys()
    repeated = all(
        index in failed for wanted in missing.values() for first, stop in wanted for index in range(first, stop)
    )
    try:
        _draw(plan, seen, missing, options, starter(plan), progress)
    except RunError as error:
        if not repeated:
            raise
        progress.say(f"probe: what failed before fails again, and is counted as before ({error})")


def _draw(
    plan: ProbePlan,
    seen: Seen,
    missing: Mapping[int, Missing],
    options: PipelineOptions,
    start: Callable[[], Engine],
    progress: Progress,
) -> None:
    total = sum(stop - first for wanted in missing.values() for first, stop in wanted)
    what = (
        f"asking {plan.model.endpoint}"
        if plan.model.endpoint
        else "starting the engine, which takes up to two minutes,"
    )
    progress.say(f"probe: {what} for at most {total:,} samples of {plan.model.name}")
    try:
        with _watched(plan, total, progress), model_name("probe") as engine:
            execute("probe", options, lambda root: graph(root, plan, seen, missing, start, engine))
    finally:
        stop_engines()


def _watched(plan: ProbePlan, total: int, progress: Progress) -> AbstractContextManager[None]:
    """Tell the listener how many samples are done, while Beam works; on other machines, how many are kept."""
    before, done = count_kept(plan.store), 0.0
    progress.begin("generate", total, "samples")

    def look() -> None:
        nonlocal done
        engines = engine_progress()
        # What has just been kept is in neither number for a moment; never go back.
        done = max(done, min(total, count_kept(plan.store) - before + engines.samples))
        rate = f"{engines.tokens_per_second:,.0f} tokens/s" if engines.tokens_per_second else ""
        progress.advance_to(done, ", ".join(filter(None, [_precision(plan), rate])))

    return watched(look, progress)


def _precision(plan: ProbePlan) -> str:
    """Say how precise the estimate was after the last round, and what is wanted; the figure first, as narrow terminals cut the rest."""
    look, rounds = newest_look(plan.store), plan.look.rounds
    if look is None:
        return f"round 1 of at most {rounds.max_rounds}"
    wanted = "" if rounds.half_width is None else f", wanted {rounds.half_width:.3f}"
    return f"+-{max(look.half_widths):.3f}{wanted}, after round {look.round} of at most {rounds.max_rounds}"


def _check_complete(plan: ProbePlan, seen: Seen, number: int) -> None:
    """Refuse to report on rounds that should be there and are not."""
    if not seen.stop and number <= plan.look.rounds.max_rounds:
        raise RunError(
            f"probe: samples of round {number} are not in {plan.store}; the workers of another machine must see the output"
            " directory. Run it again."
        )
