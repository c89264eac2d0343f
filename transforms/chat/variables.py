"""Which variables a chat template reads that nobody gives it."""

from __future__ import annotations

from collections.abc import Iterable

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from versatune.schemas.errors import ConfigError

_GIVEN = frozenset({"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now"})


class _Generation(Extension):
    """The tag by which some templates mark answers; what is in it is written as it is."""

    tags = {"generation"}  # noqa: RUF012  # so jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def variables_not_given(source: str, given: Iterable[str], origin: str) -> list[str]:
    """Return the names that a template reads and that neither it sets nor transformers or the configuration give; many only ask whether
    they are there.

    Args:
        source: the template.
        given: names that it is given besides what every template is given.
        origin: of the template, for the message.

    Raises:
        ConfigError: it is no Jinja template.
    """
    environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols", _Generation])  # noqa: S701  # it only parses; nothing is written
    try:
        parsed = environment.parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(
            f"chat template {origin}: line {error.lineno} is not Jinja: {error.message}; correct it, or give another as"
            " model.chat_template"
        ) from None
    its_own = {
        name.name for name in parsed.find_all(nodes.Name) if name.ctx != "load"
    }  # set in some branch: read in others
    return sorted(meta.find_undeclared_variables(parsed) - {*environment.globals, *_GIVEN, *its_own, *given})
