"""Sphinx configuration: MyST pages, and the laws from their own docstrings."""

import seqloom

project = "seqloom"
author = "the seqloom authors"
copyright = "the seqloom authors, Apache-2.0"
version = release = seqloom.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
# tables that are included in pages
tables = ["models_table.md", "parallel_table.md", "span_table.md"]
tables += [f"results/{name}.md" for name in ("kernels_tables", "predictions_table", "tasks_table")]
exclude_patterns = ["_build", *tables]
myst_enable_extensions = ["colon_fence", "dollarmath"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
html_theme = "alabaster"
html_theme_options = {"description": "RNN, Transformer, or both?", "fixed_sidebar": True, "page_width": "1080px"}
