"""The version of this program, the same that pyproject.toml names."""

VERSION = "0.1.0"
