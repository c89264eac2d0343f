"""A classifier's card as a page for people."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

_WORST_SOURCES = 5
_CONFUSED_PAIRS = 5
_ENOUGH_ROWS = 300  # of a domain, for its confusion rates
_WORTH_NAMING = 0.02  # of a domain's rows: less often mistaken is no known weakness
_NOTHING = "–"

Card = Mapping[str, Any]


def card_markdown(card: Card, plots: Sequence[str] = ()) -> str:
    """Write a classifier's card as a page.

    Args:
        card: what ``train_classifier`` returns.
        plots: where the page finds its pictures: paths or addresses that end in the names ``write_classifier_plots`` gives.
            Those that are not there are left out.
    """
    parts = [
        f"# Domain classifier: {', '.join(card['labels'])}",
        "Written by `versatune classifier train`; do not edit by hand.",
        *_what_it_is(card),
        *_expectations(card),
        *_reading(card),
        *_weaknesses(card),
        *_calibration(plots),
        *_confusion(card, plots),
        *_sources_measured(card, plots),
        *_quantisation(card),
        *_making(card),
        *_sources_and_licences(card),
        "## Files",
        _table(["file", "sha256"], [[name, f"`{digest}`"] for name, digest in card["files"].items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _what_it_is(card: Card) -> list[str]:
    facts = [
        ["kind", "fastText, softmax"],
        ["domains", ", ".join(card["labels"])],
        ["size", f"{card['bytes'] / 1e6:.2f} MB ({card['bytes']:,} bytes)"],
        ["sha256", f"`{card['sha256']}`"],
        ["licence of the model file", card["licence"] or "not stated"],
        ["temperature, Latin letters / other scripts", " / ".join(f"{t:.3f}" for t in card["temperatures"].values())],
        ["undetermined below", f"{card['undetermined_below']:.2f}"],
    ]
    return [_table(["", ""], facts)]


def _expectations(card: Card) -> list[str]:
    unseen, held_out = card["unseen"], card["held_out"]
    if unseen["of_sources"]:
        first = "unseen sources"
        text = (
            f"**The first line is what to expect on your data**: {unseen['rows']:,} rows of {len(unseen['per_source'])} sources, each"
            " judged by a model that learned from none of that source's rows."
        )
    else:
        first = "held-out rows, calibrated"
        text = (
            "No source could be left out without a domain losing all its rows, so nothing is known about sources that the classifier"
            f" has not seen. The first line is of {unseen['rows']:,} held-out rows; **where they come from the sources it learned from,"
            " expect less on your data.**"
        )
    lines = [_scores(first, unseen)]
    lines += [_scores(f"{first}: {name}", part) for name, part in card["unseen_by_group"].items()]
    if held_out and unseen["of_sources"]:
        lines += [_scores(_held_out_name(name), scores) for name, scores in held_out.items()]
        text += (
            " Held-out rows were not learned from either, but other rows of their sources may have been: where they were, the rows are"
            " easier than yours."
        )
    header = ["measured on", "rows", "accuracy", "macro-F1", "recall", "ECE", "determined", "right if determined"]
    legend = (
        "Macro-F1: all domains count alike. Recall: the share of a domain's rows that is found; sources count alike within a domain,"
        " domains alike. ECE: expected calibration error, how far the probabilities are from what happens. Determined: the share of"
        f" rows whose highest probability is at least {unseen['threshold']:.2f}. On unseen sources, ECE and the two columns after it"
        " let every source count alike."
    )
    if not unseen["of_sources"]:
        legend = legend.rpartition(" On unseen")[0]
    return ["## What to expect", text, _table(header, lines), legend]


def _scores(name: str, scores: Mapping[str, Any]) -> list[str]:
    figures = (scores[key] for key in ("accuracy", "macro_f1", "source_macro_recall", "ece"))
    return [
        name,
        f"{scores['rows']:,}",
        *map(_decimal, figures),
        _percent(scores["coverage"]),
        _percent(scores["precision_determined"]),
    ]


def _held_out_name(name: str) -> str:
    """Rows of the configuration's ``held_out`` files, or those that a group holds out."""
    return "held-out rows" if name == "held_out" else f"held-out rows: {name}"


def _reading(card: Card) -> list[str]:
    reached, threshold, asked = (
        card["unseen"]["precision_determined"],
        card["undetermined_below"],
        card["precision_asked_for"],
    )
    text = (
        'A probability answers "which of these domains", never "is it one of them": text that belongs to none of them still gets'
        " the one whose words it shares. A text whose highest probability is below the threshold is *undetermined*: it keeps its"
        " most probable domain, but do not rely on it."
    )
    if reached is not None and reached >= asked:
        text += f" The threshold, {threshold:.2f}, is the lowest at which {asked:.0%} of the determined rows are right."
    else:
        text += (
            f" No threshold was found at which {asked:.0%} of the determined rows are right, so it is {threshold:.2f}."
        )
    chosen = "Settings, temperature and threshold" if card["search"] else "Temperature and threshold"
    text += (
        f" {chosen} were chosen with the rows of the first line above, so its figures are slightly favourable, though the"
        " probabilities of each source were calibrated without its own rows."
    )
    return ["## How to read it", text, *filter(None, [card["settings"].get("remarks")])]


def _weaknesses(card: Card) -> list[str]:
    unseen, groups = card["unseen"], card["unseen_by_group"]
    found = sorted(
        (recall, source, domain)
        for source, entry in unseen["per_source"].items()
        for domain, recall in entry["recall_by_domain"].items()
    )
    worst = [f"{_text(source)} ({domain}, {recall:.0%})" for recall, source, domain in found[:_WORST_SOURCES]]
    lines = [f"Sources of which it gets the fewest rows right: {', '.join(worst)}."]
    pairs = [
        f"{pair.rate:.0%} of {pair.true} is taken for {pair.predicted}" for pair in _confused(card)[:_CONFUSED_PAIRS]
    ]
    if pairs:
        lines.append(f"Domains that it mixes up most: {'; '.join(pairs)}.")
    if len(groups) > 1:
        low = min(groups, key=lambda name: groups[name]["source_macro_recall"])
        lines.append(f"It is weakest on the rows of '{low}' (recall {groups[low]['source_macro_recall']:.3f}).")
    if thin := [
        f"{name} ({entry['rows']:,} rows, sources: {_source_count(unseen, name)})"
        for name, entry in unseen["per_domain"].items()
        if entry["rows"] < _ENOUGH_ROWS or _source_count(unseen, name) < 2
    ]:
        lines.append(f"Measured on too little to be sure of: {', '.join(thin)}.")
    return ["## Known weaknesses", "\n".join(f"- {line}" for line in lines)]


def _source_count(unseen: Mapping[str, Any], domain: str) -> int:
    return sum(domain in entry["recall_by_domain"] for entry in unseen["per_source"].values())


class _Pair(NamedTuple):
    rate: float
    predicted: str
    true: str


def _confused(card: Card) -> list[_Pair]:
    labels = card["labels"]
    pairs = [
        _Pair(rate, labels[predicted], labels[true])
        for predicted, rates in enumerate(card["unseen"]["label_errors"]["hard"]["rates"])
        for true, rate in enumerate(rates)
        if predicted != true and rate >= _WORTH_NAMING
    ]
    return sorted(pairs, reverse=True)


def _calibration(plots: Sequence[str]) -> list[str]:
    pictures = [
        _picture(
            plots, "reliability", "How often the classifier is right, by how sure it is, and how many rows there are"
        ),
        _picture(plots, "risk-coverage", "How many of the determined rows are right, by how many are determined"),
    ]
    if not any(pictures):
        return []
    return [
        "## Are its probabilities true?",
        "On the dashed line, rows of probability 80% are right 80% of the time; above it the classifier is better than it says.",
        *filter(None, pictures),
    ]


def _confusion(card: Card, plots: Sequence[str]) -> list[str]:
    unseen, labels = card["unseen"], card["labels"]
    hard = unseen["label_errors"]["hard"]
    measured = [unseen["per_domain"][name]["rows"] > 0 for name in labels]
    table = [
        [
            f"**{predicted}**",
            *(
                f"{100 * rate:.1f} ± {100 * math.sqrt(covariance[given][given]):.1f}" if there else _NOTHING
                for rate, covariance, there in zip(rates, hard["covariances"], measured, strict=True)
            ),
        ]
        for given, (predicted, rates) in enumerate(zip(labels, hard["rates"], strict=True))
    ]
    domains = [
        [
            name,
            f"{entry['rows']:,}",
            _source_count(unseen, name),
            *(_decimal(entry[key]) for key in ("precision", "recall", "f1")),
        ]
        for name, entry in unseen["per_domain"].items()
    ]
    about = (
        "Per cent of the rows of each true domain (columns) that get each domain (lines), sources counting alike, with standard"
        " errors that allow for the rows of one source resembling each other. The card's JSON has them in full (`label_errors`), also for"
        " mean probabilities, so that a probe can correct its shares and knows how uncertain that makes them."
    )
    return [
        "## What is taken for what",
        about,
        _table(["predicted", *labels], table),
        *filter(None, [_picture(plots, "confusion", "Predicted by true domain, per cent of each true domain")]),
        "By domain, rows counting alike:",
        _table(["domain", "rows", "sources", "precision", "recall", "F1"], domains),
    ]


def _sources_measured(card: Card, plots: Sequence[str]) -> list[str]:
    unseen = card["unseen"]
    how = dict.fromkeys(unseen["trained_without"], "left out in turn") | dict.fromkeys(
        unseen["never_trained_on"], "never trained on"
    )
    table = [
        [
            source,
            f"{entry['rows']:,}",
            ", ".join(entry["recall_by_domain"]),
            how.get(source, "on held-out rows"),
            ", ".join(map(_decimal, entry["recall_by_domain"].values())),
            _percent(entry["coverage"]),
            _percent(entry["precision_determined"]),
        ]
        for source, entry in unseen["per_source"].items()
    ]
    learned_from = {name for name, entry in card["sources"].items() if entry["used"]}
    missing = sorted(learned_from - set(unseen["per_source"]))
    notes = [f"- {_text(name)}: {entry['note']}." for name, entry in card["sources"].items() if entry.get("note")]
    return [
        "## Source by source",
        *filter(None, [_picture(plots, "sources", "Recall of every source, by domain")]),
        _table(["source", "rows", "domain", "measured", "recall", "determined", "right if determined"], table),
        *(["Why some are low:\n\n" + "\n".join(notes)] if notes else []),
        *([f"Learned from, but not measured by themselves: {', '.join(map(_text, missing))}."] if missing else []),
    ]


def _quantisation(card: Card) -> list[str]:
    costs = [
        [_held_out_name(name), f"{before:.4f}", f"{after:.4f}", f"{100 * (after - before):+.2f} points"]
        for name, scores in card["held_out"].items()
        for before, after in [(scores["macro_f1_before_quantisation"], scores["macro_f1"])]
    ]
    if not costs:
        return []
    header = ["measured on", "macro-F1 before quantisation", "after", "difference"]
    return ["## What quantisation costs", _table(header, costs)]


def _making(card: Card) -> list[str]:
    settings, trials = card["settings"], card["search"]
    groups = [
        [
            group["name"],
            group["form"],
            f"{group['share']:g}",
            f"{group['balance']:g}",
            f"{group['hold_out']:.0%}",
            ", ".join(PurePosixPath(file).name for file in group["files"]),
        ]
        for group in settings["train"]
    ]
    text = (
        f"Every domain gets {settings['rows_per_domain']:,} lines, sampled or repeated, which the groups below that know the domain share."
        f" Seed {settings['seed']}."
    )
    parts = [
        "## How it was made",
        text,
        _table(["group", "form", "share", "balance", "held out", "files"], groups),
        "Share: of a domain's lines, relative to the other groups. Balance: 1, sources of a group share by their rows; 0, all alike.",
        f"Text: {_settings(card['text_view'])}. fastText: {_settings(card['fasttext'])}.",
    ]
    if trials:
        best = sorted(trials, key=lambda trial: -trial["macro_f1"])
        header = list(best[0])
        parts += [
            "Settings tried, by macro-F1 on sources left out together (one of each domain at once):",
            _table(
                [name.replace("_", " ") for name in header],
                [[_decimal(t[name]) if name == "macro_f1" else f"{t[name]:g}" for name in header] for t in best],
            ),
        ]
    return parts


def _sources_and_licences(card: Card) -> list[str]:
    sources = card["sources"]
    parts = ["## Sources and licences"]
    for used, heading in ((True, "Learned from:"), (False, "Left out of training:")):
        lines = [
            [name, ", ".join(entry["domains"]), f"{entry['rows']:,}", entry["licence"], entry["reason"]]
            for name, entry in sources.items()
            if entry["used"] is used
        ]
        if lines:
            parts += [heading, _table(["source", "domains", "rows", "licence", "why"], lines)]
    return parts


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_setting(value)}" for name, value in values.items())


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _picture(plots: Sequence[str], name: str, what: str) -> str:
    return next((f"![{what}]({path})" for path in plots if PurePosixPath(path).stem == f"classifier-{name}"), "")


def _decimal(value: float) -> str:
    return f"{value:.3f}"


def _percent(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.1%}"


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_text, line)) + " |" for line in lines)


def _text(value: Any) -> str:
    """A name from the data must not become a column or markup."""
    return html.escape(" ".join(str(value).split()), quote=False).replace("|", "\\|")
