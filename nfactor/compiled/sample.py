"""What went wrong in an NF, for people."""

from nfactor.compiled.program import Site
from nfactor.dataplane.nf import NF


def error_sample(function: NF, site: Site) -> str:
    """Where and what."""
    return f'{function.name}: File "{site.file}", line {site.line}: {site.what}'
