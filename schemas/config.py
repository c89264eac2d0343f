"""The configuration: one YAML file drives every stage; unknown keys are refused with the nearest known name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import regex
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from versatune.schemas.errors import ConfigError
from versatune.schemas.field_template import Template, parse_part
from versatune.schemas.probe import EstimateName
from versatune.schemas.remote import address_of, is_remote
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY, Taxonomy
from versatune.schemas.validation import validate
from versatune.schemas.yaml_text import parse_yaml, read_yaml

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
_SUM_TOLERANCE = 1e-6  # that of versatune.mixing.weights; said here before anything is built
_LORA_LEARNING_RATE = 2e-4
_BUILD_FIELDS_THAT_SHAPE_NO_ROW = ("version", "workers", "batch_rows", "part_bytes", "on_refused_file", "exchange")
_WHERE_ROWS_COME_FROM = {"files", "hub", "parallel"}


class Section(BaseModel):
    """A part of the configuration: immutable, unknown keys refused, every field described."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), use_attribute_docstrings=True, allow_inf_nan=False
    )


S = TypeVar("S", bound=Section)


class FieldMap(Section):
    """Which fields of a raw row hold what.

    A value is a path (``question.stem``, ``evidence.text``), or a template that joins fields and text
    (``"{amount} {unit}"``); docs/shapes/field-map.md says how they are written.
    """

    messages: str | None = None
    """A list of turns with role/content or from/value."""
    prompt: str | None = None
    """The user's turn."""
    completion: str | None = None
    """The assistant's turn; with choices, the right one: its letter, its text, or its position from 0."""
    reasoning: str | None = None
    """What the assistant thinks before it answers with ``completion``; rows may lack it."""
    context: str | None = None
    """Put before the prompt, with an empty line between."""
    system: str | None = None
    """The system turn."""
    choices: str | list[str] | None = None
    """The options of a multiple choice: one field with all of them, or a field for each."""
    first_choice: Literal[0, 1] | None = None
    """The number by which completion calls the first of the choices; when absent a number may also be an option's text."""
    tools: str | None = None
    """The tools that may be called."""
    rejected: str | None = None
    """A worse answer than the last one, kept beside it."""
    text: str | None = None
    """A document for continued pre-training; alone."""

    def parts(self) -> list[str]:
        """Return every path and template, in the order of the keys."""
        given = (getattr(self, name) for name in type(self).model_fields)
        return [
            part for value in given for part in (value if isinstance(value, list) else [value]) if isinstance(part, str)
        ]

    @field_validator("*", mode="before")
    @classmethod
    def _in_quotes(cls, value: object) -> object:
        if isinstance(value, dict):
            raise ValueError(  # noqa: TRY004  # pydantic explains no other
                "YAML reads braces as a map; a template that begins with one is put in quotes"
            )
        return value

    @model_validator(mode="after")
    def _readable(self) -> Self:
        for part in self.parts():
            parse_part(part)
        for name in ("messages", "tools", "choices"):  # lists: nothing that a template could join
            value = getattr(self, name)
            if isinstance(value, str) and isinstance(parse_part(value), Template):
                raise ValueError(  # noqa: TRY004  # pydantic explains no other
                    f"'{name}' is '{value}', a template; expected the path of one field"
                )
        return self

    @model_validator(mode="after")
    def _complete(self) -> Self:
        named = self.model_fields_set - {name for name in self.model_fields_set if getattr(self, name) is None}
        if self.text is not None:
            if named != {"text"}:
                raise ValueError("a field map that names 'text' names nothing else: a document has no turns")
        elif (self.messages is None) == (self.prompt is None or self.completion is None):
            raise ValueError("a field map names either 'messages', or 'prompt' and 'completion', or 'text'")
        if self.messages is not None and (self.prompt or self.context or self.choices):
            raise ValueError("'prompt', 'context' and 'choices' do not go with 'messages'; it holds what was asked")
        if self.reasoning is not None and self.completion is None:
            raise ValueError(
                "'reasoning' goes before 'completion', and there is none; thoughts in 'messages' are found by themselves"
            )
        if self.first_choice is not None and self.choices is None:
            raise ValueError("'first_choice' says how the completion counts 'choices', and there are none")
        return self


class HubConfig(Section):
    """A dataset that the ``datasets`` library can stream: a hub id, or a folder laid out like one."""

    id: str
    """``owner/name``, or a local folder relative to this file."""
    config: str | None = None
    """Name of one of its configurations."""
    split: str = "train"
    """Which split to read."""
    revision: str | None = None
    """Commit, tag or branch; pin a commit, or the rows can change between two builds."""


class SourceConfig(Section):
    """Rows that come from one place and share a licence."""

    name: Name
    """Name in the books, in every row and in the manifest."""
    files: list[str] | None = Field(default=None, min_length=1)
    """Paths, folders or globs: local ones relative to this file, or any file system Beam knows (gs://, s3://)."""
    hub: HubConfig | None = None
    """A dataset to stream in place of files."""
    parallel: dict[str, str] | None = Field(default=None, min_length=2)
    """Text files that belong together line by line, each by the field that its lines become (english: corpus.en, german: corpus.de); line n
    of each is row n."""
    license: str | None = None
    """SPDX identifier, carried to every row; when absent it is read from a LICENSE.spdx or a dataset card beside the files, else unknown."""
    domain: str | None = None
    """Give every row of this source this domain instead of the classifier's most probable one."""
    split: str | None = None
    """Which split to read of a folder, glob, archive or JSON object that holds several (train, validation, test); all reads every one.
    When absent it is the training split alone. A file that is named itself is always read."""
    encoding: str | None = None
    """Encoding of text files without a byte-order mark (cp1252, shift_jis, any that Python knows); when absent it is UTF-8, and of CSV and
    plain text that is none it is found out where the bytes show it."""
    header: Literal["auto"] | bool = "auto"
    """Whether the first row of delimited text (CSV, TSV) names the columns; columns without names are column_0, column_1, ..."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """The character between cells of delimited text; when absent it is found out."""
    quoting: Literal["auto", "double", "backslash", "none"] = "auto"
    """How a quoted cell of delimited text writes a quote: doubled (RFC 4180), after a backslash (Spark, MySQL), or none: quotes are text."""
    pattern: str | None = None
    """A regular expression with named groups for plain text: every match is a row, its groups are the row's fields. ^ and $ are those of lines."""
    drop_tail: list[Annotated[str, Field(pattern=r"\S")]] = Field(default_factory=list)
    """Literal end markers (</s>, ###eos###) to take off the end of every answer and document of this source."""
    fields: FieldMap | None = None
    """An explicit field map; without one the shape of each row is detected."""

    @model_validator(mode="after")
    def _place(self) -> Self:
        places = {"files": self.files, "hub": self.hub, "parallel": self.parallel}
        if sum(place is not None for place in places.values()) != 1:
            raise ValueError(f"source '{self.name}' needs either 'files' or 'hub' or 'parallel'")
        if self.hub is not None and self.split is not None:
            raise ValueError(f"source '{self.name}' is a dataset of the hub; name its split as 'hub.split'")
        return self

    @model_validator(mode="after")
    def _options(self) -> Self:
        said = [name for name in ("header", "delimiter", "quoting", "pattern") if name in self.model_fields_set]
        if self.parallel is not None and said:
            raise ValueError(
                f"source '{self.name}': '{said[0]}' does not go with 'parallel', of which every line is a text"
            )
        if self.hub is not None and (said or self.encoding is not None):
            raise ValueError(
                f"source '{self.name}': '{[*said, 'encoding'][0]}' does not go with 'hub', whose rows have fields already"
            )
        if self.delimiter is not None and self.delimiter in '"\\\r\n':
            raise ValueError(
                f"source '{self.name}': 'delimiter' is {self.delimiter!r}; expected no quote, backslash or line end"
            )
        if self.encoding is not None and not _is_text_encoding(self.encoding):
            raise ValueError(
                f"source '{self.name}': 'encoding' is {self.encoding!r}, which Python does not know; for example cp1252"
            )
        if self.pattern is not None:
            _check_pattern(self.name, self.pattern)
        return self


def _is_text_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except LookupError:  # also for those that turn bytes into bytes
        return False
    return True


def _check_pattern(source: str, pattern: str) -> None:
    try:
        compiled = regex.compile(pattern, regex.MULTILINE)
    except regex.error as error:
        raise ValueError(f"source '{source}': 'pattern' is no regular expression: {error}") from None
    if not compiled.groupindex:
        raise ValueError(
            f"source '{source}': 'pattern' has no named group, so its matches have no fields; expected such as (?P<question>.+)"
        )


class ModelConfig(Section):
    """The base model: probed, fine-tuned, and the owner of tokenizer and chat template."""

    path: str
    """A folder with a transformers model in safetensors form, relative to this file, an address such as gs://bucket/model, or a hub id."""
    revision: str | None = None
    """Hub revision; hub ids only."""
    chat_template: str | None = None
    """A Jinja file, relative to this file, in place of the tokenizer's own template; or the name of one that comes with versatune."""
    template_variables: dict[str, bool | int | str] = Field(default_factory=dict)
    """What the template is given besides the conversation, such as ``{enable_thinking: false}``; inference has to give it the same."""
    system: Literal["keep", "into_first_user", "drop"] = "keep"
    """What becomes of a system turn where the template has no place for one: keep rejects the row, into_first_user puts its text before the
    first user's, drop leaves it out. Each is counted."""
    thoughts: Literal["keep", "drop", "as_rendered"] = "as_rendered"
    """What becomes of the thoughts before an answer: as_rendered learns those that the template writes and counts rows that lose some, keep
    rejects these rows, drop leaves all thoughts out."""
    tools: Literal["keep", "drop", "as_rendered"] = "keep"
    """What becomes of a row whose list of tools the template does not write: keep rejects it, as_rendered learns it as it is, drop gives the
    template no such list. Where a template writes calls and never a list (DeepSeek's), keep learns the row too. Each is counted. Calls that are
    not written reject a row in any case."""
    allow_missing: list[str] = Field(default_factory=list)
    """Names of weights (patterns such as ``lm_head.*``) that the files may lack, and then are drawn from the seed, or that only the files have,
    and then are carried along untrained. Any other difference is refused."""
    trust_remote_code: bool = False
    """Run code that comes with the model. Off: nothing in a model folder can run code."""


class ClassifierConfig(Section):
    """The fastText model that labels raw rows and generations."""

    path: str | None = None
    """A fastText model, relative to this file; the bundled one when absent."""
    sha256: str | None = None
    """Expected sha256 of that file; checked before it is opened."""
    undetermined: Literal["keep", "reject"] = "keep"
    """Rows of which no domain is probable enough to be relied on (the model's card says how much is): keep marks them, reject leaves them
    out. A source with a domain of its own has none."""


class CleanConfig(Section):
    """Filters on conversations. Every one is off until it is asked for, and counts what it rejects or changes."""

    repair_encoding: bool = False
    """Undo text that was decoded wrongly (mojibake)."""
    control_tags: Literal["off", "strip", "drop"] = "off"
    """Chat markup left in a text (<|im_end|>, [INST], <eoh>): strip removes it, drop rejects the row."""
    placeholders: Literal["off", "drop"] = "off"
    """Variables of a template that were never filled in, such as {{name}}, in an answer."""
    min_prompt_chars: Annotated[int, Field(ge=0)] = 0
    """Every user turn has at least so many characters; 0 is off."""
    min_answer_chars: Annotated[int, Field(ge=0)] = 0
    """Every assistant turn has at least so many characters; 0 is off."""
    max_chars: PositiveInt | None = None
    """All turns together have at most so many characters."""
    languages: list[str] | None = None
    """ISO 639-1 codes of the languages to keep (en, zh); rows too short to tell, and code, are kept."""
    max_repetition: Share | None = None
    """Reject an answer of which a larger share of characters lies in repeated word n-grams (arXiv 2112.11446)."""
    refusals: Literal["off", "drop"] = "off"
    """Answers that begin by declining, or that speak of themselves as a language model's."""
    drop_patterns: list[str] = Field(default_factory=list)
    """Regular expressions; a row with a match in any text is rejected. No word list is built in."""


PiiAction = Literal["off", "mask", "drop", "tag"]


class PiiConfig(Section):
    """Personal data and secrets in texts: mask replaces them by a label, drop rejects the row, tag marks the row."""

    email: PiiAction = "off"
    """E-mail addresses."""
    phone: PiiAction = "off"
    """Telephone numbers: with a + and a country code, or as they are written within one of phone_regions."""
    phone_regions: list[str] = Field(default=["US", "CN"])
    """ISO 3166 codes of the regions whose national forms count: (212) 555-0199 in US."""
    ip: PiiAction = "off"
    """Public IPv4 and IPv6 addresses."""
    iban: PiiAction = "off"
    """Bank account numbers whose checksum holds."""
    credit_card: PiiAction = "off"
    """Card numbers whose checksum holds."""
    secret: PiiAction = "off"
    """API keys, tokens, private keys."""


class NearDuplicatesConfig(Section):
    """MinHash with locality-sensitive hashing over the texts (Broder 1997); one row of a cluster stays."""

    enabled: bool = False
    """Look for near-duplicates; exact ones are always removed."""
    similarity: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.8
    """Estimated Jaccard similarity of the word n-grams from which two rows are near-duplicates."""
    ngram: PositiveInt = 5
    """Words in one n-gram."""
    permutations: Annotated[int, Field(ge=16, le=1024)] = 128
    """Length of a signature; the standard error of a similarity s is at most about sqrt(s (1 - s) / permutations)."""


class BenchmarkConfig(Section):
    """An evaluation set that must not be trained on."""

    name: Name
    """Name in the manifest's table of hits."""
    files: list[str] = Field(min_length=1)
    """Paths, folders or globs, in any format that sources may have."""
    fields: FieldMap | None = None
    """An explicit field map, as for sources."""


class DecontaminateConfig(Section):
    """Rows that share text with evaluation sets are rejected."""

    benchmarks: list[BenchmarkConfig] = Field(default_factory=list)
    """The evaluation sets; none is off."""
    ngram: PositiveInt = 13
    """Words in a row that must agree; a benchmark text with fewer is a hit where it occurs whole."""
    min_words: PositiveInt = 5
    """Benchmark texts with fewer words are not looked for: everybody says them."""

    @model_validator(mode="after")
    def _benchmarks(self) -> Self:
        if self.min_words > self.ngram:
            raise ValueError(f"'min_words' is {self.min_words}; expected at most 'ngram', which is {self.ngram}")
        names = [benchmark.name for benchmark in self.benchmarks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"two benchmarks are named '{name}'; give each its own name, or list their files under one"
                )
        return self


class LicensePolicy(Section):
    """Which licences a dataset may hold; a build that breaks the policy emits nothing."""

    allow: list[str] | None = None
    """Patterns (``CC-BY-*``) of which a licence must fit one; absent allows all that are not denied."""
    deny: list[str] = Field(default_factory=list)
    """Patterns of which a licence must fit none (``*-NC-*``, ``unknown``). Licences are compared in their SPDX form: CC BY-NC 4.0 is CC-BY-NC-4.0."""


class BuildConfig(Section):
    """Raw files to Parquet shards."""

    version: Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    """Version of the dataset; when absent it is the date and the first 8 digits of the manifest's digest."""
    validation_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    """Share of rows held out by a hash of their id; never trained on."""
    tokenize: bool = True
    """Store token ids and loss masks, with the model's tokenizer and chat template; needs a model."""
    max_tokens: PositiveInt = 512
    """Longer conversations are cut to this many tokens; one whose every answer is cut off is rejected."""
    shard_bytes: Annotated[int, Field(gt=0, le=2**30)] = 128 * 2**20
    """Bytes of text that one shard of one domain may hold at most, about; a writer has them in memory. At most 1 GiB."""
    max_rejected_fraction: Share = 0.5
    """The build fails when a larger share of the rows is rejected."""
    on_refused_file: Literal["skip", "fail"] = "skip"
    """A file that cannot be read: skip leaves all of it out, says so and records it; fail ends the build."""
    max_row_bytes: Annotated[int, Field(gt=0, le=2**30)] = 8 * 2**20
    """Larger raw rows are rejected; a reject keeps the first 4,096 bytes of such a row."""
    clean: CleanConfig = CleanConfig()
    """Filters on conversations."""
    pii: PiiConfig = PiiConfig()
    """Personal data and secrets."""
    near_duplicates: NearDuplicatesConfig = NearDuplicatesConfig()
    """Rows that say nearly the same."""
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    """Rows that evaluation sets hold."""
    licenses: LicensePolicy = LicensePolicy()
    """Which licences may be emitted."""
    workers: int = Field(default=0, ge=0)
    """Local worker processes; 0 chooses: one below 64 MiB of input, else one per core."""
    batch_rows: PositiveInt = 4096
    """Rows in one Arrow record batch."""
    part_bytes: PositiveInt = 64 * 2**20
    """Larger JSON Lines and Parquet files are read in parts of about this size, by several workers."""
    exchange: Literal["auto", "files", "shuffle"] = "auto"
    """How the rows of a shard come together, the dataset being the same: through files beside the output, or through the engine's own shuffle, which
    the local engine holds in memory. auto takes files, but for hundreds of millions of rows on Dataflow, Flink or Spark."""


class EngineConfig(Section):
    """vLLM engine arguments."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Number format of weights and activations."""
    max_model_len: PositiveInt | None = None
    """Context length in tokens; the probe's own need when absent."""
    max_num_seqs: PositiveInt = 256
    """Sequences that the engine works on at a time."""
    gpu_memory_utilization: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Share of each GPU's memory that the engine may take."""
    cpu_kv_cache_gib: PositiveInt = 2
    """Key-value cache of the CPU engine, GiB."""
    tensor_parallel_size: PositiveInt = 1
    """GPUs that hold one copy of the model."""
    enforce_eager: bool = True
    """Skip graph capture and compilation: a quicker start, fewer tokens a second on long probes."""


class ProbeEndpointConfig(Section):
    """A server with an OpenAI-compatible completions API that generates in place of an own engine."""

    url: str
    """Address such as http://localhost:8000/v1; the key is taken from the environment variable OPENAI_API_KEY."""
    model: Annotated[str, Field(min_length=1)]
    """The name that the endpoint knows."""
    prompt_token_id: Annotated[int, Field(ge=0)] | None = None
    """Token that every sample starts from; needed only where model.path gives no tokenizer."""
    concurrency: PositiveInt = 64
    """Requests in flight."""
    timeout_seconds: Annotated[float, Field(gt=0.0)] = 120.0
    """Longest wait for one sample."""
    retries: Annotated[int, Field(ge=0)] = 5
    """Times that a request is sent again, ever later, before its sample counts as failed."""
    patience_seconds: Annotated[float, Field(ge=0.0)] = 300.0
    """Longest wait for a server that cannot be reached to come back, before the probe ends."""


class ProbeConfig(Section):
    """Sampling the base model from the token that begins its documents (arXiv 2411.11266, knowledge detection)."""

    samples: PositiveInt = 40_000
    """Generations to draw at most."""
    samples_per_round: PositiveInt = 2000
    """After so many samples the estimate is looked at, and the probe may stop."""
    min_rounds: PositiveInt = 3
    """Rounds before the probe may stop."""
    half_width: Annotated[float, Field(gt=0.0, lt=1.0)] | None = 0.02
    """Stop when no domain's interval is wider to either side, as far as more samples can make it narrower; null draws all samples."""
    max_change: Annotated[float, Field(gt=0.0)] = 0.005
    """Nor stop while a share still moves by more than this from round to round."""
    max_new_tokens: PositiveInt = 512
    """Cap on the tokens of one generation."""
    temperature: Annotated[float, Field(gt=0.0)] = 1.0
    """1 samples the model's own distribution."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """1 samples the model's own distribution."""
    repetition_penalty: Annotated[float, Field(gt=0.0)] = 1.0
    """A penalty changes the distribution that is measured; 1 is off."""
    prompt_token: Annotated[str, Field(min_length=1)] = "auto"
    """auto takes the begin-of-sequence token, else the end-of-sequence one; where a chat template writes it at every turn, `<|endoftext|>`
    if there is such a token. Or bos, eos, a token of the vocabulary."""
    batch_size: PositiveInt = 2000
    """Samples handed to an engine at once; with several workers, a fraction of a round."""
    estimator: Literal["auto", EstimateName] = "auto"
    """Which estimate the mixture uses: soft (mean probabilities, as in the paper), hard (shares of the most probable label), corrected (for the
    classifier's confusion) or em (probabilities re-weighted until they agree with their own mean). auto is corrected where the classifier's
    card says how it errs, soft elsewhere."""
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """All intervals hold together with probability 1 - alpha."""
    engine: EngineConfig = EngineConfig()
    """vLLM engine arguments."""
    endpoint: ProbeEndpointConfig | None = None
    """Generate through a server, and not with an own engine."""
    accelerator: str | None = None
    """Accelerator of a remote worker, as Beam's resource hint has it: type:nvidia-l4;count:1;install-nvidia-driver."""
    min_ram: str | None = None
    """Memory of a remote worker, as Beam's resource hint has it: 32GB."""

    @property
    def max_rounds(self) -> int:
        """The number of looks that are planned: enough rounds for all samples."""
        return -(-self.samples // self.samples_per_round)


class LabelConfig(Section):
    """A language model that labels text by choosing a letter (`versatune label`)."""

    descriptions: dict[str, str] = Field(default_factory=dict)
    """What the model is told of each domain, by name; the default domains have descriptions, of others the name is shown."""
    undetermined_below: Share = 0.4
    """Rows whose most probable domain has a lower probability are kept apart."""
    max_text_tokens: PositiveInt = 1024
    """Of a text, the first so many tokens are shown; through an endpoint, four times as many characters."""
    batch_size: PositiveInt = 64
    """Texts handed to the model at once; a finished batch is kept."""
    concurrency: PositiveInt = 16
    """Requests in flight; endpoint only."""
    timeout_seconds: Annotated[float, Field(gt=0.0)] = 60.0
    """Longest wait for one answer; endpoint only."""
    engine: EngineConfig = EngineConfig()
    """vLLM engine arguments."""


class MixerConfig(Section):
    """How weights move between segments (arXiv 2411.11266, multi-ability fostering and domain expansion)."""

    name: Literal["constant", "versatune_dynamic", "versatune_expansion"] = "versatune_dynamic"
    """constant keeps the weights; the other two follow held-out losses."""
    sigma: Annotated[float, Field(ge=0.0)] = 0.5
    """Strength of the learnable potential."""
    target: str | None = None
    """Domain to expand; versatune_expansion only."""
    delta: Share | None = None
    """Weight the target gains per update; 0.4 / segments when absent."""
    epsilon: Annotated[float, Field(ge=0.0)] = 0.05
    """The target grows while the others' mean forgetting is below epsilon times its potential."""
    w_max: Share = 0.9
    """Largest weight of the target."""
    others: Literal["proportional", "tilted"] = "proportional"
    """How the other domains share what the target leaves."""
    otherwise: Literal["hold", "hold_tilt", "multi", "backoff"] = "hold"
    """What happens when the condition for growth fails."""
    phi_min_z: Annotated[float, Field(ge=0.0)] = 0.0
    """Ignore a forgetting degree whose loss change is below this many standard errors; 0 is off."""
    update_before_first: bool = False
    """Also update the weights from the base model's losses, before the first segment."""
    floor: Share = 0.0
    """Smallest weight of an active domain; 0 is off."""
    step_limit: Annotated[float, Field(ge=1.0)] | None = None
    """Largest factor by which one update may change a weight."""

    @model_validator(mode="after")
    def _target(self) -> Self:
        if (self.name == "versatune_expansion") != (self.target is not None):
            raise ValueError("'target' goes with name: versatune_expansion, and only with it")
        return self


class MixConfig(Section):
    """Pool and probe to a mixture."""

    policy: Literal["versatune-constant", "uniform", "proportional", "explicit"] = "versatune-constant"
    """Where the first segment's weights come from; versatune-constant takes the probe's distribution."""
    weights: dict[str, float] | None = None
    """Domain weights that sum to one; policy explicit only."""
    unit: Literal["rows", "tokens", "loss_tokens"] = "rows"
    """What a weight counts, and what the budget counts."""
    budget: PositiveInt = 60_000
    """Units in one segment."""
    segments: PositiveInt = 4
    """Segments of the run; the mixer updates the weights between them."""
    max_passes: Annotated[float, Field(gt=0.0)] = 2.0
    """Times one segment may use a domain's rows."""
    on_shortfall: Literal["shorten", "error"] = "shorten"
    """What to do when the caps are below the budget."""
    on_empty: Literal["error", "drop", "general"] = "error"
    """What to do with the weight of a domain without rows."""
    redraw: Literal["fresh", "continue", "fixed"] = "fresh"
    """Which rows the next segment takes: a new order, the next rows, or the same rows."""
    order: Literal["interleave", "shuffle"] = "interleave"
    """Order of the domains within a segment."""
    mixer: MixerConfig = MixerConfig()
    """How weights move between segments."""

    @model_validator(mode="after")
    def _explicit(self) -> Self:
        if (self.policy == "explicit") != (self.weights is not None):
            raise ValueError("'weights' goes with policy: explicit, and only with it")
        total = math.fsum((self.weights or {"all": 1.0}).values())
        if not abs(total - 1.0) <= _SUM_TOLERANCE:
            raise ValueError(f"weights sum to {total:.9g}; expected 1 within {_SUM_TOLERANCE:g}")
        return self


class LoraConfig(Section):
    """Low-rank adapters."""

    rank: PositiveInt = 16
    """Inner dimension."""
    alpha: PositiveInt = 32
    """Scale; the update is multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout on the adapter's input."""
    target_modules: str | list[str] = "all-linear"
    """Modules that get an adapter; all-linear means those that can have one in a model of this family, the output layer left out."""
    experts: bool = False
    """Adapt the experts too where a layer holds them in one tensor, which is no linear module; all-linear leaves those out and says so."""


class ReferenceConfig(Section):
    """What each domain's loss could come down to: the r_j of the learnable potential."""

    source: Literal["self_adapter", "given", "zero"] = "self_adapter"
    """self_adapter fine-tunes an adapter per domain and takes the lowest held-out loss."""
    losses: dict[str, float] | None = None
    """Nats per token by domain; source given only."""
    max_rows: PositiveInt = 5000
    """Training rows per domain."""
    epochs: PositiveInt = 4
    """Passes over those rows."""
    evals_per_epoch: PositiveInt = 4
    """Held-out evaluations in one pass."""
    learning_rate: Annotated[float, Field(gt=0.0)] = _LORA_LEARNING_RATE
    """Of the adapter."""
    lora: LoraConfig = LoraConfig()
    """Size of the adapter."""

    @model_validator(mode="after")
    def _given(self) -> Self:
        if (self.source == "given") != (self.losses is not None):
            raise ValueError("'losses' goes with source: given, and only with it")
        return self


class TrainConfig(Section):
    """Supervised fine-tuning from a mixture."""

    method: Literal["full", "lora"] = "full"
    """Train every weight, or low-rank adapters."""
    lora: LoraConfig = LoraConfig()
    """Adapter settings; method lora only."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Number format of forward and backward; full fine-tuning keeps float32 master weights."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU where there is one."""
    global_batch_rows: PositiveInt = 128
    """Rows in one optimizer step."""
    micro_batch_rows: PositiveInt = 8
    """Rows in one forward pass."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 2e-5
    """Peak of the schedule; with method lora it is 0.0002 when absent."""
    warmup_ratio: Share = 0.03
    """Share of all steps in which the rate rises linearly; then it falls along one cosine over all segments."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    """AdamW's decoupled decay."""
    max_grad_norm: Annotated[float, Field(gt=0.0)] = 1.0
    """Gradients are scaled down to this norm."""
    eval_rows_per_domain: PositiveInt = 512
    """Held-out rows per domain on which losses are measured, always the same ones."""
    checkpoint_steps: PositiveInt = 200
    """Optimizer steps between checkpoints; the end of a segment always makes one."""
    keep_checkpoints: PositiveInt = 2
    """Checkpoints that are kept; older ones are deleted."""
    reference: ReferenceConfig = ReferenceConfig()
    """Reference losses for the learnable potential."""

    @model_validator(mode="before")
    @classmethod
    def _rate_of_method(cls, value: Any) -> Any:
        """Fill in an adapter's rate, so that what is recorded of a run is the rate it had."""
        if isinstance(value, dict) and value.get("method") == "lora":
            return {"learning_rate": _LORA_LEARNING_RATE, **value}
        return value


class Config(Section):
    """Everything versatune needs to know. Relative paths are relative to the file that holds them."""

    name: Name
    """Name of the dataset and of everything made from it."""
    output: str = "outputs"
    """Directory for all outputs: <output>/<name>/."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Every random choice derives from it."""
    taxonomy: Taxonomy = DEFAULT_TAXONOMY
    """The domains."""
    sources: list[SourceConfig] = Field(default_factory=list)
    """Raw data."""
    model: ModelConfig | None = None
    """The base model."""
    classifier: ClassifierConfig = ClassifierConfig()
    """What labels text."""
    build: BuildConfig = BuildConfig()
    """Raw files to shards."""
    probe: ProbeConfig = ProbeConfig()
    """The base model's own distribution."""
    label: LabelConfig = LabelConfig()
    """Labels from a language model."""
    mix: MixConfig = MixConfig()
    """What to train on."""
    train: TrainConfig = TrainConfig()
    """How to train."""

    _directory: Path = PrivateAttr(default_factory=Path)
    _overrides: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are named '{name}'; give each its own name")
        pinned = {source.domain for source in self.sources} - {None}
        weighted = set(self.mix.weights or {}) | set(self.train.reference.losses or {})
        target = {self.mix.mixer.target} - {None}
        for domain in sorted(pinned | weighted | target | set(self.label.descriptions)):  # type: ignore[type-var]  # None is taken out above
            try:
                self.taxonomy.index(str(domain))
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return self

    @property
    def directory(self) -> Path:
        """Directory of the file this was read from; relative paths start there."""
        return self._directory

    @property
    def overrides(self) -> tuple[str, ...]:
        """What was changed for one call, as ``key=value``: the file says otherwise."""
        return self._overrides

    @property
    def home(self) -> str:
        """``<output>/<name>``: the dataset versions, probe, mixture and runs of this configuration."""
        return f"{self.resolve(self.output).rstrip('/')}/{self.name}"

    @property
    def classifier_path(self) -> str | None:
        """The configured classifier's file as an absolute path; None for the bundled one."""
        return self.resolve(self.classifier.path) if self.classifier.path else None

    def resolve(self, path: str) -> str:
        """Return a local path of the configuration as an absolute one; a URI (gs://, s3://) as it is."""
        return path if "://" in path else str((self._directory / Path(path).expanduser()).resolve())

    def placed(self, directory: Path) -> Self:
        """Return the same configuration as if it had been read from a file in this directory."""
        other = self.model_copy()
        other._directory = directory.resolve()  # noqa: SLF001  # its own
        return other

    def build_fingerprint(self) -> dict[str, Any]:
        """Return the configuration that decides what becomes of a row: no worker count, no version name, no paths, no order of sources."""
        section = self.build.model_dump(mode="json")
        for field in _BUILD_FIELDS_THAT_SHAPE_NO_ROW:
            del section[field]
        for benchmark in section["decontaminate"]["benchmarks"]:
            del benchmark["files"]  # their content counts: the manifest has the digest of what was looked for
        return {
            "sources": [
                source.model_dump(mode="json", exclude=_WHERE_ROWS_COME_FROM)
                for source in sorted(self.sources, key=lambda source: source.name)
            ],
            "taxonomy": self.taxonomy.model_dump(mode="json"),
            # Its file counts by its digest.
            "classifier": self.classifier.model_dump(mode="json", include={"undetermined"}),
            "build": section,
        }


_SHOWN_OVERRIDE = 80


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML configuration; see ``load_section``."""
    config = load_section(Config, path, overrides)
    # No fields: where a configuration was read, and how it was changed, is not part of it.
    config._directory = Path(path).resolve().parent  # noqa: SLF001
    config._overrides = (overrides,) if isinstance(overrides, str) else tuple(overrides)  # noqa: SLF001
    return config


def load_section(model: type[S], path: str | Path, overrides: Sequence[str] = ()) -> S:
    """Read a YAML file that holds one section.

    Args:
        path: the file.
        overrides: ``key.sub=value`` strings; the value is YAML (``build.workers=2``, ``mix.weights={law: 1.0}``).

    Raises:
        ConfigError: no such file, not YAML, an unknown key (with the nearest known one), a wrong value.
    """
    if is_remote(address := address_of(path)):
        raise ConfigError(f"{address}: a configuration is read on this machine; copy it here and give its path")
    file = Path(path)
    value = read_yaml(file)
    if not isinstance(value, dict):
        raise ConfigError(f"{file}: holds {type(value).__name__}; expected keys and values such as 'name: my-data'")
    for override in [overrides] if isinstance(overrides, str) else overrides:
        _apply(value, override)
    return validate(model, value, str(file), ConfigError)


def _apply(value: dict[str, Any], override: str) -> None:
    """Set one dotted key in place."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {override}: expected key=value, such as --set build.workers=2")
    *parents, last = key.split(".")
    target = value
    for parent in parents:
        inner = target.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: '{parent}' holds {type(inner).__name__}, not keys and values")
        target = inner
    target[last] = parse_yaml(text, f"--set {override[:_SHOWN_OVERRIDE]}")
