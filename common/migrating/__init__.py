"""Where a project on disk and a project on an SC or Geti server meet: download, upload, verify."""
