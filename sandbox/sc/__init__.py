"""A server that plays Sonoma Creek / Intel Geti in its generations: `ScSandbox` serves, `Fault` makes it misbehave."""

from sandbox.faults import Fault
from sandbox.sc.server import ScSandbox
from sandbox.serving import Exchange

__all__ = ["Exchange", "Fault", "ScSandbox"]
