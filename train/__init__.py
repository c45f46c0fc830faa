"""Improve a model; knows nothing of reports."""
