"""Datasets of CVAT tasks as folders: chosen, exported, extracted, checked against deleted frames, kept up to date."""
