"""What the tests of the daemon share."""

from scheduler_process import program, scheduler

__all__ = ["program", "scheduler"]
