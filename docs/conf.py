"""How Sphinx builds these pages; the reference comes from the docstrings of the public names."""

from importlib import metadata

project = "pytest-lxsandbox"
author = copyright = "pytest-lxsandbox contributors"  # noqa: A001 - Sphinx's name
release = version = metadata.version("pytest-lxsandbox")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"pytest-lxsandbox {release}"
default_role = "literal"  # docstrings write code in single backticks
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
