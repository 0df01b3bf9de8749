"""Equations of the pages as MathML, which browsers show without a script: a hook of mkdocs.yml.

The pages write them as GitHub reads them: $`x`$ in a line, and blocks fenced by ```math.
"""

import re
from typing import Any

from latex2mathml.converter import convert

_BLOCK = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"\$`(.+?)`\$")
_MARKDOWN = str.maketrans({"*": "&#42;", "_": "&#95;", "`": "&#96;", "|": "&#124;"})


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the text of a page with its equations converted."""
    markdown = _BLOCK.sub(lambda found: f"<p>{_converted(found[1], 'block')}</p>", markdown)
    return _INLINE.sub(lambda found: _converted(found[1], "inline"), markdown)


def _converted(equation: str, display: str) -> str:
    equation = equation.strip().replace("{aligned}", "{align*}")  # which latex2mathml knows
    return convert(equation, display=display).translate(_MARKDOWN)
