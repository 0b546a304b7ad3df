"""Seeded scripts that train the sample models and export them to ONNX."""
