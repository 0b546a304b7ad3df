"""Lessons: interactive demos and exercises as pure numbers, which both doors draw."""
