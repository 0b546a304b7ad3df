"""Leaving the workbench: ONNX files, proof that they behave as simulated, and their speed."""
