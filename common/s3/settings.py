"""Which bucket, where, and as whom. What is not set here comes from where boto3 takes it: AWS_… variables, ~/.aws."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from common.s3.address import what_is_wrong_with
from common.s3.reach import Reach
from common.settings import Settings


class S3Settings(Settings):
    """How a bucket is reached."""

    from_environment_only: ClassVar[str] = "AWS_"

    bucket: str = Field("", alias="CVAT_IMAGES_BUCKET", description="name of the bucket; required")
    endpoint_url: str = Field(
        "",
        alias="CVAT_IMAGES_ENDPOINT_URL",
        description="address of an S3 server that is not AWS (MinIO, Ceph, …); empty = what AWS_ENDPOINT_URL or ~/.aws say",
    )
    profile: str = Field(
        "", alias="CVAT_IMAGES_PROFILE", description="profile of ~/.aws/config; empty = AWS_PROFILE or the default one"
    )
    region: str = Field(
        "",
        alias="CVAT_IMAGES_REGION",
        description="region of the bucket; empty = AWS_REGION, the profile's, or found out",
    )
    no_sign_request: bool = Field(
        False, alias="CVAT_IMAGES_NO_SIGN_REQUEST", description="true reads a public bucket without credentials"
    )
    request_payer: bool = Field(
        False, alias="CVAT_IMAGES_REQUEST_PAYER", description="true: we pay for requests to a requester-pays bucket"
    )
    transport: Literal["auto", "boto3"] = Field(
        "auto",
        alias="CVAT_IMAGES_TRANSPORT",
        description="auto = our own connections where they know how; boto3 = all requests through boto3 (much slower)",
    )
    http_timeout_seconds: float = Field(
        60,
        alias="CVAT_IMAGES_TIMEOUT_SECONDS",
        ge=1,
        le=3600,
        description="longest silence on a connection before it counts as broken (seconds)",
    )

    @property
    def reach(self) -> Reach:
        return Reach(
            self.bucket, self.endpoint_url, self.profile, self.region, self.no_sign_request, self.request_payer, self.transport,
            self.http_timeout_seconds,
        )  # fmt: skip

    @field_validator("endpoint_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and (wrong := what_is_wrong_with(value)):
            raise ValueError(wrong)
        return value.rstrip("/")

    @field_validator("bucket")
    @classmethod
    def _bucket(cls, value: str) -> str:
        name = value.removeprefix("s3://").rstrip("/")
        if "/" in name and not name.startswith("arn:"):
            raise ValueError("is a bucket and a folder: put the folder into CVAT_IMAGES_S3_PREFIX (--s3-prefix)")
        return name
