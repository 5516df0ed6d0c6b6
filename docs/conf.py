"""Settings of the documentation site: `make docs` builds it into docs/_build."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import geoseg  # noqa: E402

project = "geoseg"
version = release = geoseg.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "notebooks", "generated", "plain_docstrings"]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = "geoseg"
html_show_sphinx = False
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
"""Links to headings work as on a forge: files.md#codes."""

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
smartquotes = False
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
# Several rooms offer a class of one name, and annotations name it without its room.
suppress_warnings = ["ref.python"]
