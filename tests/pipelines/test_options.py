"""Which engine, with how many workers."""

from __future__ import annotations

import os

import pytest
from apache_beam.options.pipeline_options import DirectOptions, GoogleCloudOptions

from versatune.pipelines.options import local_workers, make_runner, pipeline_options, runner_name
from versatune.schemas.errors import ConfigError


def test_the_local_runner_is_named_and_gets_its_workers() -> None:
    options = pipeline_options([], 3)
    assert runner_name(options) == "FnApiRunner"
    assert options.view_as(DirectOptions).direct_num_workers == 3
    assert make_runner(options) is not None


def test_a_named_runner_pushes_the_local_defaults_aside() -> None:
    options = pipeline_options(["--runner=DataflowRunner", "--project=my-project"], 3)
    assert runner_name(options) == "DataflowRunner"
    assert options.view_as(DirectOptions).direct_num_workers == 1
    assert options.view_as(GoogleCloudOptions).project == "my-project"
    assert make_runner(options) is None


def test_a_users_flag_wins_over_the_configuration() -> None:
    assert pipeline_options(["--direct_num_workers=5"], 2).view_as(DirectOptions).direct_num_workers == 5


@pytest.mark.parametrize(
    "flag", ["--unheard_of=1", "--direct_num_workers=many", "--direct_running_mode=multi_threading"]
)
def test_a_flag_that_cannot_be_used_is_named(flag: str) -> None:
    with pytest.raises(ConfigError, match=flag.partition("=")[0]):
        pipeline_options([flag], 1)


def test_zero_workers_means_one_for_little_and_a_core_each_for_much() -> None:
    assert local_workers(0, 1) == 1
    assert local_workers(0, 2**30) == len(os.sched_getaffinity(0))
    assert local_workers(7, 1) == 7
