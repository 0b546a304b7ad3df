"""Other quantizers on the same model, data and sites; each runs in its own virtual environment."""
