"""`python -m minim2f`, where the command minim2f is not on the path."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
