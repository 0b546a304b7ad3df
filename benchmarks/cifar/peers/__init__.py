"""Other tools' training with the quantizer in the loop, each in its own virtual environment."""
