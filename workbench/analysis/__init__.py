"""Diagnosis: what quantization does to each layer, as plain records."""
