"""Builds ONNX graphs from Python expressions: each call of an operator adds a node and returns its output."""

from collections.abc import Callable

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper

State = tuple[str, int]  # name of a value and its TensorProto type


class GraphBuilder:
    """Nodes in the order of calls: `g("Add", x, y)` is the name of the sum.

    An argument that is no name is a constant. Loops see the values of the graph around them.

    Args:
        prefix: of all names that are made here.
    """

    def __init__(self, prefix: str) -> None:
        self.nodes: list[NodeProto] = []
        self._prefix = prefix
        self._count = [0]  # shared with the bodies of loops, so that no name occurs twice

    def __call__(self, operator: str, *inputs: object, outputs: int = 1, **attributes: object):
        """Add a node; the name of its output, or a tuple of names if it has several."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        results = [self._name(operator) for _ in range(outputs)]
        self.nodes.append(helper.make_node(operator, names, results, **attributes))
        return results[0] if outputs == 1 else tuple(results)

    def constant(self, value: object) -> str:
        """A constant: whole numbers as int64, others as float32, arrays as they are."""
        array = np.asarray(value)
        if not isinstance(value, np.ndarray | np.generic):
            array = array.astype({"i": np.int64, "f": np.float32}.get(array.dtype.kind, array.dtype))
        result = self._name("Constant")
        self.nodes.append(helper.make_node("Constant", [], [result], value=numpy_helper.from_array(array)))
        return result

    def loop(
        self,
        times: str | int,
        start: list[State],
        body: Callable[["GraphBuilder", str, list[str]], list[str]],
    ) -> tuple[str, ...]:
        """Run `body` so many times on a state.

        Args:
            times: scalar.
            start: values that the state begins with.
            body: from a builder, the index of the round and the names of the state to the names of the next.

        Returns:
            The names of the state after the last round.
        """
        inner = GraphBuilder(self._prefix)
        inner._count = self._count
        index, going = inner._name("index"), inner._name("going")
        before = [(inner._name("state"), kind) for _, kind in start]
        after = body(inner, index, [name for name, _ in before])
        # A body may hand on what it was given, or what is outside of it.
        after = [inner("Identity", name) for name in after]
        going_on = inner("Identity", going)

        def value(name: str, kind: int):
            return helper.make_tensor_value_info(name, kind, None)

        graph: GraphProto = helper.make_graph(
            inner.nodes,
            inner._name("body"),
            [
                helper.make_tensor_value_info(index, 7, []),
                helper.make_tensor_value_info(going, 9, []),
                *(value(*state) for state in before),
            ],
            [
                helper.make_tensor_value_info(going_on, 9, []),
                *(value(name, kind) for name, (_, kind) in zip(after, start, strict=True)),
            ],
        )
        count = times if isinstance(times, str) else self.constant(times)
        results = self("Loop", count, "", *(name for name, _ in start), outputs=len(start), body=graph)
        return results if isinstance(results, tuple) else (results,)

    def _name(self, stem: str) -> str:
        self._count[0] += 1
        return f"{self._prefix}{stem}_{self._count[0]}"
