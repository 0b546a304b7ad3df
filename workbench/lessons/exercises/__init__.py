"""Exercises of the course, by lesson; see `workbench.lessons.checking`."""
