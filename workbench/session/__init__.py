"""Models with their data, recipes, runs and jobs."""
