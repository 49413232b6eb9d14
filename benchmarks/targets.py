"""Times training targets: panoptic id map → classes, heatmap, offsets and weights.

    python benchmarks/targets.py [--height 512 --width 1024 --instances 20 --threads 1]

The map is a street with frayed outlines. Compares the public function, the op it calls and its PyTorch twin;
beside them the op on a map without any two equal neighbors, and, as a lower bound, a fill of as many bytes as
the targets have.
"""

import argparse

import numpy as np
import torch

from panodeeplab.bench.street_outputs import street_outputs
from panodeeplab.bench.timing import measure, print_table, processor
from panodeeplab.ops import backend, panoptic_segmentation, reference_targets
from panodeeplab.targets import panoptic_targets


def street(height: int, width: int, instances: int) -> tuple[np.ndarray, list, tuple[int, ...]]:
    """Panoptic map (H,W) int32 of a street, its segments_info, and the thing classes."""
    semantic, center, offset, things = street_outputs(height, width, 4, 19, instances, seed=0)
    result = panoptic_segmentation(semantic, center, offset, stride=4, thing_ids=things)
    ids = result.segment_ids[0, : result.num_segments.item()].tolist()
    segments = [{"id": i + 1000, "category_id": i // 1000, "iscrowd": 0} for i in ids]
    # As data sets have it: 0 is void, so no class has ids from 0 on.
    panoptic = torch.where(result.panoptic[0] < 0, 0, result.panoptic[0] + 1000)
    return panoptic.int().numpy(), segments, things


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--sigma", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="a loader's worker has one")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each row of the table")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    panoptic, segments_info, things = street(arguments.height, arguments.width, arguments.instances)
    noise = np.random.default_rng(0).permutation(panoptic.size).astype(np.int32).reshape(panoptic.shape)
    seen: list[tuple] = []

    def public(image: np.ndarray = panoptic) -> tuple:
        return panoptic_targets(image, segments_info, thing_ids=things, sigma=arguments.sigma)

    # The arguments that the public function hands to the op.
    op = torch.ops.panodeeplab.panoptic_targets
    torch.ops.panodeeplab.panoptic_targets = lambda *given: seen.append(given) or op(*given)
    targets = public()
    torch.ops.panodeeplab.panoptic_targets = op

    size = sum(x.numel() * x.element_size() for x in targets)
    changes = int((panoptic[:, 1:] != panoptic[:, :-1]).sum()) + len(panoptic)
    print(f"{processor()}, {arguments.threads} thread(s), torch {torch.__version__}")
    print(
        f"{panoptic.shape[0]} x {panoptic.shape[1]}, {len(targets.center_points)} instances, "
        f"{len(segments_info)} segments, {changes} runs, {size / 2**20:.1f} MiB of targets"
    )
    twin = reference_targets.panoptic_targets(*seen[0])
    differ = sum((a != b).sum().item() for a, b in zip(op(*seen[0]), twin, strict=True))
    print(f"{differ} values differ from the twin")
    rows = [
        (f"panoptic_targets ({backend()})", public),
        ("the op alone", lambda: op(*seen[0])),
        ("the op, no two neighbors equal", lambda: public(noise)),
        ("PyTorch twin", lambda: reference_targets.panoptic_targets(*seen[0])),
        ("fill of as many bytes, one block", lambda: torch.zeros(size // 4)),
        ("fill, seven tensors", lambda: [torch.full(x.shape, 1, dtype=x.dtype) for x in targets]),
    ]
    print_table([measure(name, function, arguments.seconds) for name, function in rows], [rows[0][0]])


if __name__ == "__main__":
    main()
