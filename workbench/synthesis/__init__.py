"""Examples out of the float model alone, for when there are no data to calibrate on."""
