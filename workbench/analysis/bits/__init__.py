"""Bits where they matter: what they cost, what they save, and which to choose under a budget."""
