"""Scores that are counted image by image, so that parts of a data set can be counted apart."""

from typing import ClassVar, Self

from panodeeplab.classes import ClassTable


class Mergeable:
    """What such scores have in common: the counts of two can be put together.

    Attributes:
        classes: that are counted.
    """

    classes: ClassTable
    # Attributes that must be equal, and attributes that add up.
    _settings: ClassVar[tuple[str, ...]] = ()
    _sums: ClassVar[tuple[str, ...]]

    def merge(self, other: Self) -> None:
        """Add the images of another accumulator of the same kind.

        Raises:
            ValueError: it counts other classes, or in another way.
        """
        if other.classes != self.classes:
            raise ValueError(
                f"other must count the classes of {self.classes.name!r}, got {other.classes.name!r}"
            )
        for name in self._settings:
            if getattr(other, name) != getattr(self, name):
                raise ValueError(
                    f"other must have {name} {getattr(self, name)!r}, got {getattr(other, name)!r}"
                )
        for name in self._sums:
            total = getattr(self, name)
            total += getattr(other, name)
            setattr(self, name, total)
