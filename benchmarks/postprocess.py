"""`panodeeplab bench postprocess` from the checkout, on a GPU with `--device cuda`."""

import sys

from panodeeplab.cli import main

sys.exit(main(["bench", "postprocess", *sys.argv[1:]]))
