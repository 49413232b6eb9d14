"""What an exported file says of its network: all that post-processing and a user of it need to know."""

import json
from dataclasses import dataclass
from typing import Literal

from panodeeplab.classes import ClassTable
from panodeeplab.config import InferenceConfig, PostprocessConfig

# Under it the description stands in ONNX's metadata_props and in OpenVINO's rt_info, as JSON.
KEY = "panodeeplab"
_VERSION = 1

Outputs = Literal["maps", "panoptic"]


@dataclass(frozen=True)
class Metadata:
    """Description of an exported network. It takes (N, H, W, 3) uint8 RGB images; the normalization is in it.

    Attributes:
        classes: of its semantic channels.
        postprocess: that its maps are meant for.
        inference: the size that it was trained at and what test-time augmentation it had.
        align_corners: see `panodeeplab.model.PanopticDeepLab`.
        pixel_mean: of the normalization, RGB, 0-255.
        pixel_std: likewise.
        precision: of the weights and of the arithmetic, "float32", "float16" or "int8".
        outputs: "maps" (semantic, center, offset) or, with post-processing in the file, "panoptic".
    """

    classes: ClassTable
    postprocess: PostprocessConfig
    inference: InferenceConfig
    align_corners: bool
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    precision: str = "float32"
    outputs: Outputs = "maps"

    def to_json(self) -> str:
        """One line of JSON, which `from_json` reads back."""
        return json.dumps(
            {
                "version": _VERSION,
                "classes": json.loads(self.classes.to_json()),
                "postprocess": self.postprocess.model_dump(mode="json"),
                "inference": self.inference.model_dump(mode="json"),
                "align_corners": self.align_corners,
                "pixel_mean": list(self.pixel_mean),
                "pixel_std": list(self.pixel_std),
                "precision": self.precision,
                "outputs": self.outputs,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Metadata":
        """Read what `to_json` wrote.

        Raises:
            ValueError: it was written by a later version, or is damaged.
        """
        try:
            values = json.loads(text)
            version = values.pop("version")
            if version != _VERSION:
                raise ValueError(f"its version is {version}, this package reads {_VERSION}")
            return cls(
                classes=ClassTable.from_json(json.dumps(values.pop("classes"))),
                postprocess=PostprocessConfig(**values.pop("postprocess")),
                inference=InferenceConfig(**values.pop("inference")),
                **{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()},
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"the file's description of its network cannot be read: {error}") from error
