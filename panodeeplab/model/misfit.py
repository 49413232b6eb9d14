"""What is wrong with weights that do not fit a model, in a line that can be read."""

from collections.abc import Mapping, Sequence

from torch import Tensor

# Of the names of one complaint, how many are given: a wrong model has hundreds.
_NAMED = 5


def some_of(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def misfit(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """What is missing, left over or of another shape; empty if the weights fit.

    Args:
        own: state of the model.
        state: weights that are to be loaded.
    """
    missing = [key for key in own if key not in state]
    left_over = [key for key in state if key not in own]
    shapes = [
        f"{key} is {tuple(state[key].shape)}, wanted {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    problems = []
    if missing:
        problems.append(f"missing: {some_of(missing)}")
    if left_over:
        problems.append(f"left over: {some_of(left_over)}")
    if shapes:
        problems.append(f"of another shape: {some_of(shapes)}")
    return "; ".join(problems)
