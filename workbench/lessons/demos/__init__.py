"""The demos, one to a file; see `workbench.lessons.registry`."""
