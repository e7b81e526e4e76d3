"""Sphinx configuration: MyST pages, reference from docstrings, no network."""

import importlib
import os
import re

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import lightning_hparams

project = "lightning-hparams"
author = "the lightning-hparams contributors"
version = release = lightning_hparams.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["images/*", "_build"]
html_theme = "furo"
html_title = f"lightning-hparams {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
default_role = "code"  # single backticks in docstrings, as in Markdown
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autoclass_content = "class"
napoleon_use_ivar = True
napoleon_preprocess_types = False
nitpicky = True
# Names of other projects, whose inventories are not fetched; and types that stand for themselves.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(torch|lightning|numpy|np|matplotlib|torchmetrics|optuna|collections|pathlib)\..*",
    ),
    (r"py:.*", r"(optional|callable|array_like)"),
]
suppress_warnings = ["config.cache"]

# Methods that Lightning calls, not users.
_HOOKS = re.compile(r"on_\w+|setup|teardown|(load_)?state_dict|state_key|write_on_batch_end")
_RULE = re.compile(r"; (may|this room may) import [^.]*(?=\.)|^This room may import [^.]*\.")
_ROW = re.compile(r"\s*\|.*\|\s*$")


def _tables_from_markdown(app, what, name, obj, options, lines):  # noqa: ANN001, ANN202
    """Turn the Markdown tables of docstrings into ones of reStructuredText, in place."""
    result: list[str] = []
    if what == "module":  # which other packages it may import is for those who work on it
        lines[:] = [_RULE.sub("", line) for line in lines]
    for line in lines:
        if not _ROW.match(line):
            result.append(line)
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        indent = line[: len(line) - len(line.lstrip())]
        if set("".join(cells)) <= set("-: "):
            continue  # the line between head and body
        if not (result and result[-1].startswith(f"{indent}     -")):
            result += ["", f"{indent}.. list-table::", f"{indent}   :header-rows: 1", ""]
        for position, cell in enumerate(cells):
            result.append(f"{indent}   {'* -' if position == 0 else '  -'} {cell}")
    lines[:] = result


def _skipped(app, what, name, obj, skip, options):  # noqa: ANN001, ANN202
    """Leave the hooks of callbacks out of the reference."""
    return True if what == "class" and _HOOKS.fullmatch(name) else None


class CommandHelp(SphinxDirective):
    """What ``--help`` says about a command that has a parser of its own."""

    required_arguments = 1

    def run(self):  # noqa: ANN201
        """Return the text as it is."""
        os.environ["COLUMNS"] = "88"
        module = importlib.import_module(f"lightning_hparams.cli.{self.arguments[0]}")
        text = module.parser().format_help()
        return [nodes.literal_block(text, text, language="text")]


def setup(app):  # noqa: ANN001, ANN201
    """Connect the changes of docstrings, and the directive."""
    app.add_directive("command-help", CommandHelp)
    app.connect("autodoc-process-docstring", _tables_from_markdown)
    app.connect("autodoc-skip-member", _skipped)
