"""How a bucket is to be reached, and what was found of that: facts that one process can tell another."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from common.exits import Exit, RunEnds
from common.s3.signing import Keys, Signer

if TYPE_CHECKING:
    import ssl

    from common.s3.fast import Place


class Reach(NamedTuple):
    """What somebody has decided; see `common.s3.settings`. Empty: what boto3 takes from its own settings."""

    bucket: str
    endpoint_url: str = ""
    profile: str = ""
    region: str = ""
    no_sign_request: bool = False
    request_payer: bool = False
    transport: str = "auto"
    timeout_seconds: float = 60.0


class Door(NamedTuple):
    """Where requests for objects of the bucket go. `bundle` is the PEM file that the user names, `usual_bundle` botocore's."""

    scheme: str
    host: str
    port: int
    netloc: str
    path: str
    region: str
    bundle: str
    usual_bundle: str
    timeout_seconds: float
    request_payer: bool

    def place(self) -> Place:
        """The same, ready for connections. Raises RunEnds when the certificates cannot be read."""
        # Not at the top: the process that finds the door does not go through it.
        from common.s3.fast import Place
        from common.s3.wire import Address

        tls = self._tls() if self.scheme == "https" else None
        address = Address(self.host, self.port, tls, self.timeout_seconds)
        extra = {"x-amz-request-payer": "requester"} if self.request_payer else {}
        return Place(address, f"{self.scheme}://{self.netloc}", self.path, Signer(self.netloc, self.region), extra)

    def _tls(self) -> ssl.SSLContext:
        import ssl

        try:
            tls = ssl.create_default_context(cafile=self.bundle or None)
            if not self.bundle:
                tls.load_verify_locations(self.usual_bundle)
        except (OSError, ssl.SSLError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            what = f"AWS_CA_BUNDLE={self.bundle or self.usual_bundle} cannot be read: {reason}"
            raise RunEnds(what, "Name a PEM file with certificates.", Exit.BAD_CONFIGURATION) from None
        tls.set_alpn_protocols(["http/1.1"])
        return tls


class Found(NamedTuple):
    """A bucket behind a door, and the keys that open it; None without any."""

    door: Door
    keys: Keys | None
