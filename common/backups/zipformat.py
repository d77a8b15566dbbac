"""The structures of the zip format that are read and written here, as its specification (APPNOTE.TXT) gives them."""

from __future__ import annotations

import struct

STORED, DEFLATED = 0, 8
END = struct.Struct("<4s4H2LH")
END64_LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
# What stands in a short field whose value is in a zip64 field.
MAX32 = 0xFFFFFFFF
# Flag: the name is UTF-8.
UTF8 = 0x800
