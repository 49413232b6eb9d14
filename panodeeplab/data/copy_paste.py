"""Copy-paste: objects of one image put into another, so that rare classes are seen more often."""

from collections.abc import Sequence

import cv2
import numpy as np

from panodeeplab.data.sample import Sample, Segment, distinct_ids

# An object of fewer pixels is not worth the copying.
_LEAST_AREA = 64


class CopyPaste:
    """Takes objects of one class from one image and puts them in front of what another image shows.

    The class is drawn first, each with the same probability, then an image that has it: a class that few
    images have is pasted as often as one that all have. An object keeps its height in the image, so that in
    pictures of one camera it stays as far away as its size says; it moves sideways, and may be mirrored.
    Each becomes a segment of its own, and what it covers is cut from the segments there were.

    Args:
        presence: (N, C) bool, which classes each image of the data set has, see `sampling.class_presence`.
        classes: contiguous ids of the things to copy.
        probability: that a sample is given objects, 0 to 1.
        max_objects: of one image that are pasted, at most.

    Raises:
        ValueError: an argument is out of its range, or no image has an object of `classes`.

    Source: Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation"
    (CVPR 2021), without its scale jitter of the objects, and without blending, which brings nothing there.
    """

    def __init__(
        self, presence: np.ndarray, classes: Sequence[int], *, probability: float = 0.5, max_objects: int = 3
    ) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be 0 to 1, got {probability}")
        if max_objects < 1:
            raise ValueError(f"max_objects must be >= 1, got {max_objects}")
        images = {c: np.flatnonzero(presence[:, c]) for c in sorted(set(classes))}
        self._images = {c: found for c, found in images.items() if len(found)}
        if not self._images:
            raise ValueError("copy_paste: no image has an object of the classes to copy")
        self.probability = probability
        self.max_objects = max_objects

    def draw_source(self, rng: np.random.Generator) -> int | None:
        """Position in the data set of the image to copy from; None: this sample is given nothing."""
        if rng.random() >= self.probability:
            return None
        category = list(self._images)[int(rng.integers(len(self._images)))]
        return int(rng.choice(self._images[category]))

    def paste(self, sample: Sample, source: Sample, rng: np.random.Generator) -> Sample:
        """Put objects of `source` into a copy of `sample`; where there is none, `sample` itself comes back.

        Args:
            sample: to paste into.
            source: to copy from, of any size: objects are scaled as its height is to that of `sample`.
            rng: the only source of randomness.
        """
        candidates = [
            s for s in source.segments_info if s["category_id"] in self._images and not s["iscrowd"]
        ]
        if not candidates:
            return sample
        chosen = rng.permutation(len(candidates))[: self.max_objects]
        image, panoptic = sample.image.copy(), sample.panoptic.copy()
        segments = list(sample.segments_info)
        for position in chosen:
            # Above every id of the map: those that no segment has are void, and stay it.
            new_id = max([int(panoptic.max()), 0, *(s["id"] for s in segments)]) + 1
            candidate = candidates[position]
            if self._paste_one(image, panoptic, source, candidate["id"], new_id, rng):
                segments.append(Segment(id=new_id, category_id=candidate["category_id"], iscrowd=0))
        visible = distinct_ids(panoptic)
        return sample._replace(
            image=image, panoptic=panoptic, segments_info=[s for s in segments if s["id"] in visible]
        )

    def _paste_one(
        self,
        image: np.ndarray,
        panoptic: np.ndarray,
        source: Sample,
        segment_id: int,
        new_id: int,
        rng: np.random.Generator,
    ) -> bool:
        """Paste one object in place; False if it is too small."""
        mask = source.panoptic == segment_id
        x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
        scale = panoptic.shape[0] / source.panoptic.shape[0]
        size = max(1, round(width * scale)), max(1, round(height * scale))
        box = np.s_[y : y + height, x : x + width]
        mask, pixels = mask[box].view(np.uint8), source.image[box]
        if scale != 1:
            mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        if rng.random() < 0.5:
            mask, pixels = mask[:, ::-1], pixels[:, ::-1]
        # One wider than the image hangs over both edges.
        left = int(rng.integers(abs(panoptic.shape[1] - size[0]) + 1))
        if size[0] > panoptic.shape[1]:
            mask, pixels = (a[:, left : left + panoptic.shape[1]] for a in (mask, pixels))
            left = 0
        top = min(round(y * scale), panoptic.shape[0] - size[1])
        mask = mask.astype(bool)
        if np.count_nonzero(mask) < _LEAST_AREA:
            return False
        place = np.s_[top : top + mask.shape[0], left : left + mask.shape[1]]
        image[place][mask] = pixels[mask]
        panoptic[place][mask] = new_id
        return True
