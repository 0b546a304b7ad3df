"""Tensor maths that needs torch and nothing else of ours."""
