"""Run networks by torch, its compiler, OpenVINO or ONNX Runtime."""
