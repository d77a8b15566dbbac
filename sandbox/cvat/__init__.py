"""A server that plays CVAT: `CvatSandbox` serves, `Fault` makes it misbehave."""

from sandbox.cvat.faults import Fault
from sandbox.cvat.server import CvatSandbox, Exchange

__all__ = ["CvatSandbox", "Exchange", "Fault"]
