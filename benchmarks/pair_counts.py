"""Times the counting of label pairs for panoptic quality: `pair_counts` on two maps of one street.

python benchmarks/pair_counts.py [--height 1024 --width 2048 --instances 50]
"""

import argparse

import torch

from panodeeplab.bench.street_outputs import street_outputs
from panodeeplab.bench.timing import measure, print_table, processor
from panodeeplab.ops import backend, pair_counts, panoptic_segmentation, reference


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--instances", type=int, default=50)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each row of the table")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    semantic, center, offset, things = street_outputs(
        arguments.height, arguments.width, 4, 19, arguments.instances, seed=0
    )
    truth = panoptic_segmentation(semantic, center, offset, stride=4, thing_ids=things).panoptic[0]
    # The prediction: the same street with shaken logits, so that borders differ.
    semantic = semantic + torch.randn(semantic.shape, generator=torch.Generator().manual_seed(1))
    prediction = panoptic_segmentation(semantic, center, offset, stride=4, thing_ids=things).panoptic[0]
    noise = torch.randperm(truth.numel(), generator=torch.Generator().manual_seed(2)).int().view_as(truth)

    print(f"{processor()}, {arguments.threads} threads, torch {torch.__version__}")
    print(f"{tuple(truth.shape)}, {len(pair_counts(truth, prediction)[0])} distinct pairs")
    rows = [
        (f"op ({backend()})", lambda: pair_counts(truth, prediction)),
        ("reference", lambda: reference.pair_counts(truth, prediction)),
        ("op, every pair different", lambda: pair_counts(noise, prediction)),
        ("copy of both maps", lambda: (truth.clone(), prediction.clone())),
    ]
    print_table([measure(name, function, arguments.seconds) for name, function in rows], [rows[0][0]])


if __name__ == "__main__":
    main()
