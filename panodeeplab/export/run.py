"""`panodeeplab export`: a checkpoint as a file to deploy."""

from pathlib import Path
from typing import Literal

import torch

from panodeeplab.export.metadata import Metadata
from panodeeplab.files import replacing
from panodeeplab.model import Checkpoint, load_checkpoint

Format = Literal["onnx", "openvino", "pt2", "aoti", "tensorrt"]
_ENDINGS = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2", "aoti": ".pt2", "tensorrt": ".engine"}


def export(
    checkpoint: str | Path,
    output: str | Path,
    *,
    format: Format | None = None,
    size: tuple[int, int] | None = None,
    precision: Literal["float32", "float16", "int8"] = "float32",
    calibration: str | Path | None = None,
    postprocess: Literal["none", "operators", "library"] = "none",
) -> int:
    """Write a trained model as a file that runs without this package's definition of the network.

    The file takes images as (N, H, W, 3) uint8 RGB and has the normalization inside.

    Args:
        checkpoint: see `panodeeplab.model.load_checkpoint`.
        output: file to write; an OpenVINO .xml gets a .bin beside it.
        format: of the file; by default what its ending says.
        size: (H, W) of the images, where it must be fixed ("operators", "tensorrt"); by default the one that
            the model was trained at.
        precision: "int8" quantizes (onnx, openvino), "float16" halves the weights (openvino, tensorrt).
        calibration: folder of images that int8 takes its ranges from.
        postprocess: what the .onnx holds after the network: nothing, the post-processing in ONNX's operators,
            or as one operator of a compiled library, which is written beside it.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: no such checkpoint or folder.
        ValueError: arguments that do not go together.
        ModuleNotFoundError: what the format needs is not installed.
    """
    output = Path(output)
    format = format or _format_of(output)
    _check(output, format, precision, calibration, postprocess)
    loaded = load_checkpoint(checkpoint)
    metadata = Metadata(
        classes=loaded.classes,
        postprocess=loaded.config.postprocess,
        inference=loaded.config.inference,
        align_corners=loaded.model.align_corners,
        pixel_mean=tuple(loaded.model.pixel_mean.flatten().tolist()),
        pixel_std=tuple(loaded.model.pixel_std.flatten().tolist()),
        precision=precision,
        outputs="maps" if postprocess == "none" else "panoptic",
    )
    size = size or loaded.config.inference.input_size or (512, 1024)
    output.parent.mkdir(parents=True, exist_ok=True)
    if precision == "int8":
        from panodeeplab.export.quantize import export_int8

        export_int8(loaded.model, output, format, metadata, folder=Path(calibration))
    elif format == "onnx":
        _export_onnx(loaded, output, metadata, size, postprocess)
    elif format == "openvino":
        from panodeeplab.export.openvino import convert, write_openvino

        write_openvino(convert(loaded.model), output, metadata, half=precision == "float16")
    elif format == "tensorrt":
        from panodeeplab.export.tensorrt import build_engine

        build_engine(loaded.model, output, size, half=precision == "float16")
    else:
        _export_torch(loaded, output, metadata, compiled=format == "aoti")
    written = [output]
    if format == "openvino":
        written.append(output.with_suffix(".bin"))  # the weights
    size_mb = sum(path.stat().st_size for path in written) / 1e6
    names = " and ".join(map(str, written))
    print(f"{names}: {size_mb:.1f} MB, {precision}, images (N, H, W, 3) uint8 RGB")
    return 0


def _export_onnx(
    loaded: Checkpoint, output: Path, metadata: Metadata, size: tuple[int, int], postprocess: str
) -> None:
    from panodeeplab.export.onnx import network_to_onnx, write_onnx

    proto = network_to_onnx(loaded.model)
    if postprocess == "operators":
        from panodeeplab.export.operators import append_operators

        append_operators(proto, metadata, size)
    elif postprocess == "library":
        from panodeeplab.export.library import append_library, copy_library, library_path

        append_library(proto, metadata)
        copy_library(output.with_suffix(library_path().suffix))
    write_onnx(proto, output, metadata)


def _export_torch(loaded: Checkpoint, output: Path, metadata: Metadata, *, compiled: bool) -> None:
    from panodeeplab.export.metadata import KEY
    from panodeeplab.export.onnx import export_program

    program = export_program(loaded.model)
    with replacing(output) as temporary:
        if compiled:
            settings = {
                "aot_inductor.metadata": {KEY: metadata.to_json()},
                # As many threads as torch has when it runs, and not as many as it has now.
                "cpp.dynamic_threads": True,
            }
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(temporary), inductor_configs=settings
            )
        else:
            torch.export.save(program, temporary, extra_files={KEY: metadata.to_json()})


def _format_of(output: Path) -> Format:
    for format, ending in _ENDINGS.items():
        if output.suffix == ending:
            return format
    raise ValueError(
        f"output must end in {', '.join(sorted(set(_ENDINGS.values())))} or the format be given, got {output}"
    )


def _check(
    output: Path, format: str, precision: str, calibration: str | Path | None, postprocess: str
) -> None:
    if format not in _ENDINGS:
        raise ValueError(f"format must be one of {', '.join(_ENDINGS)}, got {format!r}")
    if output.suffix != _ENDINGS[format]:
        raise ValueError(f"output must end in {_ENDINGS[format]} for format {format}, got {output}")
    takes = {"float32": tuple(_ENDINGS), "float16": ("openvino", "tensorrt"), "int8": ("onnx", "openvino")}
    if format not in takes[precision]:
        raise ValueError(
            f"precision {precision!r} goes with format {' and '.join(takes[precision])}, got {format!r}"
        )
    if (precision == "int8") != (calibration is not None):
        raise ValueError(
            "calibration must name a folder of images for int8"
            if calibration is None
            else f"calibration is for int8, got precision {precision!r}"
        )
    if calibration is not None and not Path(calibration).is_dir():
        raise FileNotFoundError(f"calibration: no folder {calibration}")
    if postprocess != "none" and (format != "onnx" or precision == "int8"):
        raise ValueError(f"postprocess {postprocess!r} goes with format 'onnx' in float32")
