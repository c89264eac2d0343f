"""The domain classifier: the only file that imports fastText.

Three properties of fastText shape this file. It gives confident nonsense for text without a single word, so such
text gets the uniform distribution instead. It raises on line breaks and lone surrogates, so ``text_view`` removes
them. Its models cannot be pickled, so workers call ``shared_classifier`` after they have started.
"""

from __future__ import annotations

import ctypes
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import fasttext
import numpy as np
from numpy.typing import NDArray

from versatune.schemas.classifier import FastTextSettings
from versatune.schemas.errors import DataError, IntegrityError, RunError
from versatune.schemas.files import sha256_bytes
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY, Taxonomy
from versatune.transforms.classifier.dense_model import dense_model
from versatune.transforms.transport.storage import is_local, local_copy

CARD_FORMAT = 2
# Without a card nothing is known of a model's probabilities.
UNDETERMINED_WITHOUT_CARD = 0.4
LABEL_PREFIX = "__label__"
MAX_CHARS = 1000

_SEPARATORS = b".,?!;:\"'()\n\r\t\v\f\0" + b"0123456789"
_TO_BLANK = bytes(0x20 if byte in _SEPARATORS else byte for byte in range(256))
_TO_LOWER_OR_BLANK = _TO_BLANK.lower()  # of ASCII bytes
# First bytes of U+3000 to U+DFFF and of the full-width forms in UTF-8; no other byte of a character looks like them.
_LEADS_OF_EAST_ASIA = tuple(bytes([lead]) for lead in (*range(0xE3, 0xEE), 0xEF))
# fastText reports p + 1e-5 for every label (its logarithm is guarded that way); this takes it back.
_FASTTEXT_OFFSET = 1e-5
_SMALLEST = 1e-7
_BYTES_PER_CHARACTER = 1.5  # Chinese with its blanks takes 2, Cyrillic 1.85, Vietnamese below 1.4
_LEAST_TO_QUANTISE = 256  # vectors; fastText refuses fewer, and such a model is small as it is


def text_view(contents: Sequence[str]) -> str:
    """Give the one text that is classified for an example: the same in training and in prediction.

    The contents of its messages are joined with a blank, cut to the first 1,000 characters and lower-cased; line
    breaks, prose punctuation, digits (they tell a source's layout, seldom a domain) and lone surrogates become blanks
    (runs of blanks stay: fastText skips them). Chinese, Japanese and Korean characters stand by themselves, because fastText
    takes what lies between two blanks for a word: their pairs are then word bigrams.
    """
    text = " ".join(contents)[:MAX_CHARS].lower()
    # Bytes, because bytes.translate takes a microsecond where str.translate takes ten.
    data = text.encode("utf-8", "replace").translate(_TO_BLANK)
    if not data.isascii():
        for lead in _LEADS_OF_EAST_ASIA:
            data = data.replace(lead, b" " + lead)
    return data.decode("utf-8")


def text_view_of_bytes(text: bytes) -> str:
    """Give the same for contents that are joined already, in UTF-8, as columns hold them: ASCII takes half the time."""
    return (
        text[:MAX_CHARS].translate(_TO_LOWER_OR_BLANK).decode() if text.isascii() else text_view([text.decode("utf-8")])
    )


class Temperatures(NamedTuple):
    """Temperatures to soften probabilities by: 1 leaves them, a higher one says that the model is too sure of itself."""

    latin: float = 1.0
    """For texts in Latin letters."""
    other: float = 1.0
    """For texts mostly in another script, of which a model has seen less or more."""

    def of(self, texts: Sequence[str]) -> float | NDArray[np.float64]:
        """Return the temperature of each text, (n, 1), or the one temperature of them all."""
        if self.latin == self.other or all(map(str.isascii, texts)):
            return self.latin
        return np.array([[self.other if in_other_script(text) else self.latin] for text in texts])


def in_other_script(text: str) -> bool:
    """Whether a text view is mostly in another script than Latin, whose letters take one byte in UTF-8, seldom two."""
    return not text.isascii() and len(text.encode("utf-8", "replace")) > _BYTES_PER_CHARACTER * len(text)


class DomainClassifier:
    """A loaded fastText model that gives every text one probability per domain.

    Attributes:
        sha256: digest of the model file.
        labels: the domains, in taxonomy order: the columns of every prediction.
        temperatures: what its probabilities are softened by.
        undetermined_below: a text whose highest probability is lower has no domain that can be relied on.
        card: what the model's card says, or None for a model without a card beside it.
    """

    def __init__(
        self,
        model: Any,
        taxonomy: Taxonomy,
        *,
        sha256: str,
        card: dict[str, Any] | None,
    ) -> None:
        self.sha256 = sha256
        self.labels = taxonomy.domains
        self.card = card
        self.temperatures = Temperatures(**card["temperatures"]) if card else Temperatures()
        self.undetermined_below = float(card["undetermined_below"]) if card else UNDETERMINED_WITHOUT_CARD
        self._model = model
        self._column = {LABEL_PREFIX + name: i for i, name in enumerate(self.labels)}

    @classmethod
    def load(cls, path: str | Path | None, taxonomy: Taxonomy, *, sha256: str | None = None) -> DomainClassifier:
        """Load a model, the bundled one when ``path`` is None.

        The file's digest is compared with ``sha256`` and with the card (the ``.json`` of the same name beside it)
        before fastText opens it; without a card the probabilities are fastText's own.

        Raises:
            DataError: no such file, not a fastText model, or its labels are not the taxonomy's domains.
            IntegrityError: the file is not the one that ``sha256`` or the card names.
        """
        file = bundled_model() if path is None else Path(path)
        if not file.is_file():
            raise DataError(
                f"classifier {file}: {'not a file' if file.exists() else 'no such file'}; give a fastText .bin or .ftz, or none"
                " for the bundled one"
            )
        card = _read_card(file.with_suffix(".json"))
        data = file.read_bytes()
        digest = sha256_bytes(data)
        for expected, whose in (
            (sha256, "the configuration"),
            (card and card["sha256"], f"the card {file.stem}.json"),
        ):
            if expected and expected != digest:
                raise IntegrityError(
                    f"classifier {file}: its sha256 is {digest}, {whose} expects {expected}; the file was changed or damaged, or "
                    "this is another model's: restore the file, or give the digest or card that belongs to it"
                )
        try:
            model = _loaded(data)
        except (ValueError, RuntimeError, MemoryError) as e:
            raise DataError(f"classifier {file}: not a fastText model ({e}); expected a supervised .bin or .ftz") from e
        _check_labels(file, model, taxonomy)
        return cls(model, taxonomy, sha256=digest, card=card)

    def predict(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Give the probabilities of the domains for texts made by ``text_view``.

        Returns:
            (len(texts), k) float32, columns in taxonomy order, rows sum to one. Softened by the card's temperature
            ``T`` for the text's script: proportional to ``p ** (1 / T)``. A text without a word gets 1/k everywhere.
        """
        k = len(self.labels)
        out = np.full((len(texts), k), 1.0 / k, dtype=np.float64)
        rows = [i for i, text in enumerate(texts) if text and not text.isspace()]
        if rows:
            given = texts if len(rows) == len(texts) else [texts[i] for i in rows]
            out[rows] = soften(self._raw(list(given)), self.temperatures.of(given))
        return out.astype(np.float32)

    @property
    def label_errors(self) -> dict[str, Any] | None:
        """What the card says of its mistakes: ``rows`` and ``sources``, ``hard`` and ``soft`` rates with covariances, in the order of ``labels``.

        Made by ``classifier_metrics.label_errors`` of sources that it has not learned from. None without a card, with one of before
        cards said so, and where no source could be left out: mistakes on rows like those learned from are too few.
        """
        card = self.card or {}
        unseen = card.get("unseen", {})
        found: dict[str, Any] | None = unseen.get("label_errors") if unseen.get("of_sources") else None
        if found is None or tuple(card["labels"]) == self.labels:
            return found
        order = [card["labels"].index(name) for name in self.labels]
        return {name: _reordered(part, order) for name, part in found.items()}

    def _raw(self, texts: list[str]) -> NDArray[np.float64]:
        try:
            names, probs = self._model.predict(texts, k=len(self.labels))
        except (
            TypeError,
            ValueError,
            UnicodeError,
        ):  # a text that text_view did not make
            names, probs = self._model.predict([text_view([text]) for text in texts], k=len(self.labels))
        # fastText orders each row by probability: put every value into its domain's column.
        shape = len(texts), len(self.labels)
        columns = np.fromiter(map(self._column.__getitem__, chain.from_iterable(names)), np.intp).reshape(shape)
        values = np.concatenate(probs).reshape(shape)
        out = np.empty(shape, np.float64)
        np.put_along_axis(out, columns, values, axis=1)
        return np.clip(out - _FASTTEXT_OFFSET, _SMALLEST, 1.0)


def _loaded(data: bytes) -> Any:
    """Load a model from the very bytes that were checked; a quantised one is made dense, which is twice as fast."""
    with tempfile.TemporaryDirectory(prefix="versatune-classifier-") as folder:  # fastText reads files only
        file = Path(folder, "model.bin")
        file.write_bytes(dense_model(data) or data)
        return fasttext.load_model(os.fspath(file))


def soften(probs: NDArray[np.float64], temperature: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Temperature scaling (Guo et al. 2017) of (n, k) positive probabilities; rows of the result sum to one.

    Args:
        temperature: one number, or (n, 1).
    """
    powered: NDArray[np.float64] = probs ** (1.0 / temperature)
    scaled: NDArray[np.float64] = powered / powered.sum(axis=1, keepdims=True)
    return scaled


def bundled_model() -> Path:
    """Path of the model that ships with versatune."""
    return Path(__file__).with_name("data") / "domains.ftz"


def model_taxonomy(path: Path | None) -> Taxonomy:
    """Return the domains of a model, the bundled one when ``path`` is None: those its card names, else the default ones."""
    card = _read_card((path or bundled_model()).with_suffix(".json"))
    return Taxonomy.model_validate(card["taxonomy"]) if card and "taxonomy" in card else DEFAULT_TAXONOMY


def train_model(lines: Path, model: Path, *, seed: int, settings: FastTextSettings, dense: Path | None = None) -> None:
    """Train a softmax classifier on one thread, quantise it and write it to ``model``: the same bytes each time.

    Args:
        lines: a text file, one ``__label__<domain> <text_view>`` a line.
        dense: write the model here too, before it is quantised.
    """
    with _zeroed_allocations():
        trained = _trained(lines, seed, settings)
        if dense is not None:
            trained.save_model(str(dense))
        if len(trained.get_words()) + trained.f.getArgs().bucket >= _LEAST_TO_QUANTISE:
            trained.quantize(dsub=settings.dsub, thread=1, verbose=0)
    trained.save_model(str(model))


def train_and_predict(
    lines: Path, texts: Sequence[str], taxonomy: Taxonomy, *, seed: int, settings: FastTextSettings
) -> NDArray[np.float64]:
    """Train as ``train_model`` does, keep nothing, and return the (n, k) probabilities of some texts, not calibrated."""
    with _zeroed_allocations():
        trained = _trained(lines, seed, settings)
    return DomainClassifier(trained, taxonomy, sha256="", card=None).predict(texts).astype(np.float64)


def _trained(lines: Path, seed: int, settings: FastTextSettings) -> Any:
    try:
        return fasttext.train_supervised(
            str(lines),
            loss="softmax",
            thread=1,
            seed=seed,
            verbose=0,
            label=LABEL_PREFIX,
            lr=settings.lr,
            dim=settings.dim,
            epoch=settings.epoch,
            wordNgrams=settings.word_ngrams,
            minn=settings.min_chars,
            maxn=settings.max_chars,
            bucket=settings.buckets,
            minCount=settings.min_count,
        )
    except RuntimeError as e:
        raise RunError(f"fastText training failed ({e}); a lower learning rate than {settings.lr} may help") from e


@contextmanager
def _zeroed_allocations() -> Iterator[None]:
    """Make malloc hand out zeros.

    On one thread fastText initialises only the first tenth of its input matrix and trains the rest on whatever the
    memory held: other bytes each time, or "Encountered NaN". glibc can fill what it hands out; where there is no
    glibc, training works as fastText leaves it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    m_perturb, fill_with_zero, off = (
        -6,
        0xFF,
        0,
    )  # the fill byte is the complement of the value
    mallopt(m_perturb, fill_with_zero)
    try:
        yield
    finally:
        mallopt(m_perturb, off)


def _reordered(value: Any, order: Sequence[int]) -> Any:
    """Put numbers by domain, nested as deep as they are, into another order of the domains."""
    if isinstance(value, dict):
        return {name: _reordered(part, order) for name, part in value.items()}
    return [_reordered(value[at], order) for at in order] if isinstance(value, list) else value


@lru_cache(maxsize=4)
def _shared(path: str | None, taxonomy_json: str, sha256: str | None, _state: tuple[float, ...]) -> DomainClassifier:
    return DomainClassifier.load(path, Taxonomy.model_validate_json(taxonomy_json), sha256=sha256)


def shared_classifier(path: str | Path | None, taxonomy: Taxonomy, sha256: str | None = None) -> DomainClassifier:
    """Load a classifier once per process; later calls with the same arguments give the same object until the files change.

    The file may lie on any file system Beam knows; its card is looked for beside it.
    """
    if path is not None and not is_local(os.fspath(path)):
        path = local_copy(os.fspath(path), card_path(os.fspath(path)))
    file = bundled_model() if path is None else Path(path)
    state = tuple(
        number
        for part in (file, file.with_suffix(".json"))
        if part.is_file()
        for number in (part.stat().st_mtime_ns, part.stat().st_size)
    )
    return _shared(None if path is None else os.fspath(path), taxonomy.model_dump_json(), sha256, state)


def card_path(model: str) -> str:
    """Return where the card of a model file is, if it has one: beside it, named alike."""
    return f"{os.path.splitext(model)[0]}.json"


def _read_card(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        card = json.loads(path.read_bytes())
    except ValueError as e:
        raise DataError(f"classifier card {path}: not JSON ({e}); delete it or train the classifier again") from e
    if not isinstance(card, dict) or card.get("format") != CARD_FORMAT:
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise DataError(f"classifier card {path}: format is {found!r}, this version reads {CARD_FORMAT}")
    missing = sorted({"sha256", "temperatures", "undetermined_below"} - card.keys())
    if missing:
        raise DataError(f"classifier card {path}: no {' and no '.join(missing)}; train the classifier again")
    if not (isinstance(card["sha256"], str) and card["sha256"]):  # nothing to check the model by
        raise DataError(f"classifier card {path}: sha256 is {card['sha256']!r}; train the classifier again")
    temperatures, threshold = card["temperatures"], card["undetermined_below"]
    given = temperatures if isinstance(temperatures, dict) else {}
    right = set(given) == set(Temperatures._fields) and all(
        isinstance(t, int | float) and t > 0 for t in given.values()
    )
    if not (right and isinstance(threshold, int | float) and 0 <= threshold <= 1):
        raise DataError(
            f"classifier card {path}: temperatures {temperatures!r} and undetermined_below {threshold!r}; expected positive numbers"
            f" for {list(Temperatures._fields)} and a share; train the classifier again"
        )
    return card


def _check_labels(file: Path, model: Any, taxonomy: Taxonomy) -> None:
    found = {str(label).removeprefix(LABEL_PREFIX) for label in model.get_labels()}
    if found != set(taxonomy.domains):
        unknown, absent = (
            sorted(found - set(taxonomy.domains)),
            sorted(set(taxonomy.domains) - found),
        )
        raise DataError(
            f"classifier {file}: its labels do not match the taxonomy; labels that are no domain: {unknown}, domains "
            f"without a label: {absent}; train a classifier for this taxonomy or change the taxonomy"
        )
