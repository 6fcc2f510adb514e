"""The detector as an ONNX file, for inference elsewhere.

The normalisations are folded into the convolutions, and the scaling of the pixels is the first thing in the graph: what
is left are eight everyday operators, which every runtime has.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .model import Model
from .network import EPSILON, STAGES, STRIDE

OPSET = 17
IR_VERSION = 8
"""Of 2022: old enough for the runtimes in use, and nothing newer is needed."""
INPUT = "images"
OUTPUTS = ("heatmap", "distances")


def to_onnx(model: Model) -> bytes:
    """The model as a checked ONNX file; equal models give equal bytes.

    Its input `images` is [batch, 3, height, width] float32: red, green, blue, 0 to 255, at the model's size. Its outputs are
    `heatmap`, [batch, classes, height/4, width/4], 0 to 1: how sure it is that the centre of a box of a class is in a
    cell; and `distances`, [batch, 4, height/4, width/4]: pixels from the middle of the cell to the left, upper, right and
    lower side of that box.
    """
    graph = _Graph(model)
    x = graph.add("Mul", INPUT, graph.constant("scale", np.array(2 / 255, np.float32)))
    x = graph.add("Sub", x, graph.constant("one", np.array(1, np.float32)))
    x = graph.add("Relu", graph.convolution("stem", x, stride=2))
    stages = []
    for stage, _, _, blocks in STAGES:
        x = graph.add("Relu", graph.convolution(f"{stage}.down", x, stride=2))
        for block in range(blocks):
            inner = graph.add("Relu", graph.convolution(f"{stage}.{block}.a", x))
            x = graph.add("Relu", graph.add("Add", x, graph.convolution(f"{stage}.{block}.b", inner)))
        stages.append((stage, x))
    (stage, x), *finer = reversed(stages)
    merged = graph.convolution(f"{stage}.lateral", x)
    for stage, x in finer:
        merged = graph.add("Add", graph.doubled(merged), graph.convolution(f"{stage}.lateral", x))
    joined = graph.add("Relu", graph.convolution("join", merged))
    heat = graph.convolution("heat.b", graph.add("Relu", graph.convolution("heat.a", joined)))
    sides = graph.convolution("sides.b", graph.add("Relu", graph.convolution("sides.a", joined)))
    graph.add("Sigmoid", heat, output="heatmap")
    stride = graph.constant("stride", np.array(STRIDE, np.float32))
    graph.add("Mul", graph.add("Softplus", sides), stride, output="distances")
    return graph.file()


def metadata(model: Model) -> dict[str, Any]:
    """All that a program needs to use the file, besides the file."""
    return {
        "classes": list(model.classes),
        "input": {
            "name": INPUT,
            "layout": "NCHW",
            "type": "float32",
            "width": model.width,
            "height": model.height,
            "channels": "RGB",
            "range": [0, 255],
        },
        "outputs": {
            "heatmap": "[batch, classes, height/4, width/4] score that the centre of a box of the class is in the cell",
            "distances": "[batch, 4, height/4, width/4] pixels of the input from the middle of the cell to the box's left, "
            "upper, right and lower side",
        },
        "stride": STRIDE,
        "model": model.id,
    }


class _Graph:
    """Nodes and constants, in the order in which they are made."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def convolution(self, layer: str, x: str, stride: int = 1) -> str:
        kernel, bias = _folded(self.model, layer)
        size = kernel.shape[-1]
        weights = self.constant(f"{layer}.kernel", kernel), self.constant(f"{layer}.bias", bias)
        return self.add(
            "Conv", x, *weights, output=layer, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[size // 2] * 4
        )

    def doubled(self, x: str) -> str:
        """Each cell repeated twice in both directions."""
        if not any(one.name == "twice" for one in self.constants):
            self.constant("twice", np.array([1, 1, 2, 2], np.float32))
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.add("Resize", x, "", "twice", **how)

    def file(self) -> bytes:
        model = self.model
        rows, columns = model.height // STRIDE, model.width // STRIDE
        shapes = {"heatmap": len(model.classes), "distances": 4}
        graph = helper.make_graph(
            self.nodes,
            "alrun-detector",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, model.height, model.width])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", shapes[name], rows, columns])
                for name in OUTPUTS
            ],
            self.constants,
        )
        made = helper.make_model(
            graph, producer_name="alrun", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        about = {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata(model).items()}
        helper.set_model_props(made, about)
        onnx.checker.check_model(made, full_check=True)
        data: bytes = made.SerializeToString(deterministic=True)
        return data


def _folded(model: Model, layer: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel [channels out, channels in, height, width] and bias [channels out] of a layer, its normalisation folded in."""
    parts = {name: np.asarray(array, np.float64) for name, array in model.weights[layer].items()}
    kernel = parts["kernel"]
    if layer in model.statistics:
        statistics = {name: np.asarray(array, np.float64) for name, array in model.statistics[layer].items()}
        gain = parts["scale"] / np.sqrt(statistics["variance"] + EPSILON)
        kernel, bias = kernel * gain, parts["shift"] - statistics["mean"] * gain
    else:
        bias = parts["bias"]
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), np.float32), bias.astype(np.float32)
