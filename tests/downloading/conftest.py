"""What every test here needs: the copy of the program that is run, and a server of its own."""

from running import _program, server

__all__ = ["_program", "server"]
