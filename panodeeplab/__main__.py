"""`python -m panodeeplab`, for where the command is not on the path."""

import sys

from panodeeplab.cli import main

sys.exit(main())
