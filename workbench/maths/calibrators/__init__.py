"""Calibrators: how a range is found for a grid from the values it should hold, one to a file."""
