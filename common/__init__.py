"""The ground floor that all scripts share: settings, logging, the frame of a run, files, transfers."""
