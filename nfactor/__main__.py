"""``python -m nfactor``: the ``nfactor`` command."""

import sys

from nfactor.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
