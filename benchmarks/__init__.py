"""Measurements of accuracy, time and memory on real models; run with `make bench`."""
