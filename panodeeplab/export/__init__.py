"""Models as files that run without the network's definition: ONNX, OpenVINO, torch.export."""
