"""Measurements of the product beside what else there is, against the sandbox."""
