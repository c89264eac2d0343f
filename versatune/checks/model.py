"""The base model: its files, tokenizer, template and settings."""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from versatune.checks.report import Fact, Findings, Problem
from versatune.checks.subject import Subject
from versatune.models.files import context_length, read_json, tensors_of, text_sections
from versatune.models.fit import check_model_fit, embedding_rows
from versatune.models.look import check_trainable
from versatune.schemas.chat_template import template_file
from versatune.schemas.errors import ConfigError, DataError
from versatune.transforms.chat.report import refuse_unusable, template_lines
from versatune.transforms.engines.memory_fit import weight_bytes
from versatune.transforms.reading.tokenize import Tokenizer

_OF_TRAIN = re.compile(r"train\.[a-z_.]*[a-z]")


def files(subject: Subject) -> Findings:
    """No model where one is needed, or one whose files are not whole."""
    folder = subject.weights.get()
    context = context_length(folder)
    length = f"context of {context:,} tokens" if context else "no limit of context known"
    yield Fact(name="model", text=f"{folder.name}, {weight_bytes(folder, 1) / 1e6:,.0f} M parameters, {length}")
    _check_shapes(folder)


def _check_shapes(folder: Path) -> None:
    """Refuse weights that are not those of the configuration: loading them fails, or makes up what is not there.

    Raises:
        DataError: naming what differs.
    """
    sections = text_sections(folder)
    rows, sizes = embedding_rows(folder), [size for section in sections if (size := section.get("vocab_size"))]
    if sizes and rows is not None and rows not in sizes:
        raise DataError(
            f"model {folder}: config.json says that vocab_size is {sizes[0]}, and the weights have {rows} rows of embedding; take the"
            " configuration that belongs to the weights"
        )
    names = {name for file in folder.glob("*.safetensors") for name in tensors_of(file)}
    untied = any(section.get("tie_word_embeddings") is False for section in sections)
    if untied and "model.embed_tokens.weight" in names and not any("lm_head" in name for name in names):
        raise DataError(
            f"model {folder}: config.json says that tie_word_embeddings is false, and the weights have no lm_head; download the model"
            " again, or take the configuration that belongs to the weights"
        )


def known_type(subject: Subject) -> Findings:
    """A model that this transformers has no code for, or that comes with its own, which may not run."""
    folder, model = subject.weights.value, subject.config.model
    if folder is None or model is None or find_spec("transformers") is None:
        return
    settings = read_json(folder / "config.json")
    kind, own_code = str(settings.get("model_type")), bool(settings.get("auto_map"))
    if (own_code and model.trust_remote_code) or _built_in(kind):
        return
    stage = "train" if "train" in subject.stages else "probe"
    if own_code:
        message = (
            f"it is false, and {model.path} is of the type {kind}, which this transformers has not: the model brings its own code. Read"
            " that code and set it to true, or take another model"
        )
        yield Problem(stage=stage, key="model.trust_remote_code", message=message)
    else:
        message = f"{model.path} is of the type {kind}, which this transformers ({version('transformers')}) has not; install one that has"
        yield Problem(stage=stage, key="model.path", message=message)


def tokenizer(subject: Subject) -> Findings:
    """A tokenizer or template that cannot be used, or does not fit the weights or build.max_tokens."""
    config = subject.config
    file = template_file(config)
    if file is not None and not file.is_file():
        message = f"there is no file {file}; expected a Jinja template, or leave it out"
        yield Problem(stage="build", key="model.chat_template", message=message)
        return
    tokenization = subject.tokenization.get()
    fit = f"rows of at most {config.build.max_tokens:,} tokens"
    yield Fact(name="tokenizer", text=f"{tokenization.name}, {fit}")
    at_work = Tokenizer(tokenization)
    template = at_work.record().template
    refuse_unusable(template)
    lines = template_lines(template, at_work.proposed())
    yield Fact(name="chat template", text="; ".join(lines).removeprefix("chat template "))
    if template.no_end:
        yield Problem(stage="build", key="model.chat_template", message=template.no_end, refused=False)


def rows_of_a_dataset(subject: Subject) -> Findings:
    """A dataset that is built already, with a model that it does not fit."""
    dataset, folder = subject.dataset, subject.folder.value
    if dataset is None or dataset.tokenizer is None or folder is None:
        return
    check_model_fit(folder, max_tokens=dataset.tokenizer.max_tokens)
    ours = subject.tokenization.get()
    for what, found, expected in (
        ("tokenizer", ours.sha256, dataset.tokenizer.sha256),
        ("chat template", ours.chat_template_sha256, dataset.tokenizer.chat_template_sha256),
    ):
        if found != expected:
            yield Problem(
                stage="train",
                key="model",
                message=f"its {what} ({found[:12]}...) is not the one that made the tokens of dataset {dataset.name} {dataset.version}"
                f" ({expected[:12]}..., from '{dataset.tokenizer.name}'); set model to that one, or run build and mix again",
            )


def tokens(subject: Subject) -> Findings:
    """Training without tokens to train on."""
    config, dataset = subject.config, subject.dataset
    if "build" in subject.stages and not config.build.tokenize:
        yield Problem(
            stage="build",
            key="build.tokenize",
            message="it is false, and training needs token ids and loss masks; set it to true",
        )
    elif dataset is not None and dataset.tokenizer is None:
        yield Problem(
            stage="train",
            key="build.tokenize",
            message=f"dataset {dataset.name} {dataset.version} has no tokens, which training needs; set model and build.tokenize: true, and"
            " run build and mix again",
        )


def trainable(subject: Subject) -> Findings:
    """Weights that are not those of the configuration, are quantised, belong to a model that cannot be trained, or cannot have the adapters."""
    folder, model = subject.folder.value, subject.config.model
    if folder is None or model is None or not (folder / "config.json").is_file():
        return
    settings = read_json(folder / "config.json")
    if not model.trust_remote_code and not _built_in(str(settings.get("model_type"))):
        return
    stage = next(stage for stage in ("build", "train") if stage in subject.stages)
    try:
        for notice in check_trainable(folder, subject.config):
            yield Problem(stage=stage, key="model", message=notice, refused=False)
    except ConfigError as error:
        named = _OF_TRAIN.match(str(error))
        yield Problem(stage=stage, key=named[0] if named else "model.path", message=str(error))


def _built_in(model_type: str) -> bool:
    package = find_spec("transformers")
    if package and package.origin and (Path(package.origin).parent / "models" / model_type.replace("-", "_")).is_dir():
        return True
    from transformers import CONFIG_MAPPING  # loads torch: seconds

    return model_type in CONFIG_MAPPING
