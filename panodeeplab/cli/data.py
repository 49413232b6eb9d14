"""Commands that make, convert and check data."""

import argparse
from pathlib import Path

from panodeeplab.cli._common import OVERRIDE, Command


def _check_data(args: argparse.Namespace) -> int:
    from panodeeplab import config as configuration
    from panodeeplab.data import check
    from panodeeplab.data.cityscapes import OFFICIAL_IDS, CityscapesDataset, read_instance_id_table
    from panodeeplab.data.coco_dataset import CocoPanopticDataset
    from panodeeplab.data.datasets import build_dataset

    kind = {".json": "JSON", ".yaml": "run", ".yml": "run"}.get(args.path.suffix, "folder")
    for name, wanted in (("images", "JSON"), ("pngs", "JSON"), ("split", "folder"), ("classes", "folder")):
        if getattr(args, name) is not None and kind != wanted:
            raise ValueError(f"--{name} goes with a {wanted}, got the {kind} {args.path}")
    if kind == "JSON":
        if args.images is None:
            raise ValueError(f"give the folder of the pictures of {args.path} with --images")
        report = check.check_coco_panoptic(args.images, args.path, args.pngs)

        def datasets():
            yield f"{args.path.stem}_", CocoPanopticDataset(args.images, args.path, args.pngs)

    elif kind == "run":
        config = configuration.load(args.path)
        report = check.check_run(config, str(args.path))

        def datasets():
            for split in report.splits:
                yield f"{split}_", check.dataset_of_run(config, split)

    else:
        ids = read_instance_id_table(args.classes) if args.classes else OFFICIAL_IDS
        report = check.check_cityscapes(args.path, args.split, ids)

        def datasets():
            for split in report.splits:
                yield f"{split}_", CityscapesDataset(args.path, split, ids)

    print(check.format_report(report))
    if args.preview:
        # Not above: to draw takes torch, which takes seconds to import.
        from panodeeplab.data.check.preview import write_augmented_previews, write_previews

        written = []
        try:
            for prefix, dataset in datasets():
                written += write_previews(dataset, args.preview, prefix=prefix)
            if kind == "run":
                from panodeeplab.training.batches import training_samples

                samples = training_samples(config, build_dataset(config.data, "train"))
                written += write_augmented_previews(samples, args.preview)
        except ValueError as error:
            print(f"no further pictures: {error}")
        print(f"wrote {check.number(len(written), 'picture')} to {args.preview}")
    return 1 if report.errors else 0


def _convert_masks(args: argparse.Namespace) -> int:
    from panodeeplab.data.convert import convert_masks

    path = convert_masks(
        args.images, args.semantic, args.instances, args.classes, args.output, name=args.name
    )
    print(f"wrote {path} and {path.with_suffix('')}")
    return 0


def _convert_coco(args: argparse.Namespace) -> int:
    from panodeeplab.data.convert import convert_coco_instances

    path = convert_coco_instances(args.annotations, args.semantic, args.classes, args.output, name=args.name)
    print(f"wrote {path} and {path.with_suffix('')}")
    return 0


def _cache(args: argparse.Namespace) -> int:
    from panodeeplab import config as configuration
    from panodeeplab.data import cache
    from panodeeplab.data.datasets import build_dataset, meaning_files

    data = configuration.load(args.config, args.set).data
    # Made from the files, also where the run reads the cache that is there.
    data = data and data.model_copy(update={"cache": None})
    for split in args.split or ("train", "val"):
        if args.verify:
            length = cache.verify_cache(args.output, split)
            print(f"{split}: {length / 1e9:.2f} GB, all checksums right")
            continue
        written = cache.write_cache(build_dataset(data, split), args.output, split, also=meaning_files(data))
        print(f"{split}: {written.samples} samples, {written.length / 1e9:.2f} GB")
        for reason in written.bad.values():
            print(f"  cannot be read: {reason}")
    if not args.verify:
        print(f"wrote {args.output}; train with --set data.cache={args.output}")
    return 0


def _scenes(args: argparse.Namespace) -> int:
    from panodeeplab.data.scenes import write_cityscapes

    write_cityscapes(args.output, args.count, size=tuple(args.size), seed=args.seed, split=args.split)
    print(f"wrote {args.count} streets to {args.output}")
    return 0


def _clip(args: argparse.Namespace) -> int:
    from panodeeplab.data.scenes import render_clip
    from panodeeplab.inference.demo import write_clip

    frames = render_clip(args.seed, args.frames, tuple(args.size))
    write_clip(args.output, (sample.image for sample in frames))
    print(f"wrote {args.frames} frames to {args.output}")
    return 0


def add_commands(command: Command) -> None:
    sub = command(
        "check-data", _check_data, "Say what is wrong with a data set, file by file, and count what is in it."
    )
    sub.add_argument(
        "path",
        type=Path,
        help="folder in Cityscapes' layout, JSON of COCO panoptic, or YAML file of a run",
    )
    sub.add_argument("--split", action="append", help="of a folder: only this; may be given several times")
    sub.add_argument(
        "--classes", type=Path, help="of a folder: YAML table of its classes, if not Cityscapes'"
    )
    sub.add_argument("--images", type=Path, help="of a JSON: folder of its pictures")
    sub.add_argument(
        "--pngs", type=Path, help="of a JSON: folder of its PNGs (default: its path without suffix)"
    )
    sub.add_argument(
        "--preview",
        type=Path,
        metavar="DIR",
        help="write pictures of the first samples of each split, and of a run as it augments them",
    )

    sub = command("convert", None, "Make COCO panoptic files from other annotations.")
    sources = sub.add_subparsers(required=True, metavar="FROM")
    masks = sources.add_parser(
        "masks", help="instance masks and semantic maps", description="From instance masks and semantic maps."
    )
    masks.set_defaults(run=_convert_masks)
    masks.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    masks.add_argument(
        "--instances", type=Path, required=True, help="folder of NAME.png with numbers, or NAME/*.png masks"
    )
    coco = sources.add_parser(
        "coco",
        help="COCO instances and semantic maps",
        description="From COCO instance annotations and semantic maps.",
    )
    coco.set_defaults(run=_convert_coco)
    coco.add_argument("--annotations", type=Path, required=True, help="JSON of the instances")
    for source in (masks, coco):
        source.add_argument("--semantic", type=Path, required=True, help="folder of NAME.png with label ids")
        source.add_argument("--classes", type=Path, required=True, help="YAML table of the classes")
        source.add_argument("--output", type=Path, required=True, help="folder")
        source.add_argument("--name", default="panoptic", help="of the JSON (default: %(default)s)")

    sub = command(
        "cache", _cache, "Decode the data of a run once, so that training need not decode them again."
    )
    sub.add_argument("--config", type=Path, required=True, help="YAML file of the run")
    sub.add_argument("--output", type=Path, required=True, help="folder of the cache")
    sub.add_argument(
        "--split", action="append", choices=["train", "val"], help="only this (default: train and val)"
    )
    sub.add_argument("--verify", action="store_true", help="read a cache that is there, compare checksums")
    sub.add_argument("--set", **OVERRIDE)

    sub = command("scenes", _scenes, "Write generated streets in Cityscapes' layout.")
    sub.add_argument("--output", type=Path, required=True, help="folder")
    sub.add_argument("--count", type=int, default=100, help="images (default: %(default)s)")
    sub.add_argument("--size", type=int, nargs=2, default=(256, 512), metavar=("H", "W"))
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--split", default="train", help="folder below leftImg8bit (default: %(default)s)")

    sub = command("clip", _clip, "Write a drive through a generated street as a video.")
    sub.add_argument("--output", type=Path, required=True, help="file ending in .mp4")
    sub.add_argument("--frames", type=int, default=16, help="ten a second (default: %(default)s)")
    sub.add_argument("--size", type=int, nargs=2, default=(256, 512), metavar=("H", "W"))
    sub.add_argument("--seed", type=int, default=0)
