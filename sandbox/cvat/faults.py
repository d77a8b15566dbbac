"""The shared switches, under the name that the CVAT rooms use."""

from sandbox.faults import ANSWER_KINDS, EXPORT_KINDS, NO_FAULTS, Fault, FaultBook, FaultsMet

__all__ = ["ANSWER_KINDS", "EXPORT_KINDS", "NO_FAULTS", "Fault", "FaultBook", "FaultsMet"]
