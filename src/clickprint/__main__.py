"""`python -m clickprint` is the command line."""

import sys

from clickprint.apps.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
