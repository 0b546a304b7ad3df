"""Gradient estimators: what stands in for the derivative of rounding. One to a file."""
