"""Train from the checkout: `python train.py --config configs/X.yaml` is `panodeeplab train --config ...`."""

import sys

from panodeeplab.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
