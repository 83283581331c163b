"""How Sphinx builds the documentation: ``make docs``."""

from importlib.metadata import version as version_of

project = "nfactor"
author = "the nfactor authors"
project_copyright = "the nfactor authors, Apache-2.0"
version = release = version_of("nfactor")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "nfactor"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"

# Every reference to a name of ours must resolve (`-n`). What is not ours is not looked up, since a build must not need
# the network: the standard library, numpy, trio, attrs. Type aliases are spelt by their last name in signatures.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!nfactor\.).*"),
    (r"py:class", r"nfactor\..*\.([A-Z]|Accepts|Record)"),  # type variables
    (r"py:class", r"nfactor\..*\.(_\w+|Timers|Ledger|End)"),  # parameters of what users do not make
]
