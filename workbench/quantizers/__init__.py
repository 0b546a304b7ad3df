"""Quantizers: modules that sit on one edge of a graph and snap what passes to a grid."""
