# The image of cvat-backups. BuildKit builds it (docker 23 and later do by themselves; before: DOCKER_BUILDKIT=1).
# Behind a proxy with a certificate authority of its own:
#   docker build --secret id=ca_bundle,src=/etc/ssl/certs/ca-certificates.crt -t cvat-backups .
# The certificates are used while pip runs and never enter the image.

ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim-trixie AS base
RUN ["python", "-c", "import sys; sys.version_info >= (3, 11) or sys.exit('PYTHON_VERSION must be 3.11 or later; this one is ' + '.'.join(map(str, sys.version_info[:3])))"]

# --- what pip installs, and the program compiled: both are copied, nothing else of this stage is ---
FROM base AS builder
RUN python -m venv --without-pip /opt/venv
COPY requirements.txt /tmp/requirements.txt
RUN --mount=type=secret,id=ca_bundle \
    if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi; \
    python -m pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
        -r /tmp/requirements.txt
COPY *.py crontab LICENSE /app/
COPY common /app/common
# The root file system is read-only: nobody could compile later.
RUN chmod -R a+rX,go-w /app && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /app

# --- the product ---
FROM base AS product
ARG UID=1000
ARG GID=1000
ARG VERSION=dev
ARG REVISION=
ARG PYTHON_VERSION
LABEL org.opencontainers.image.title="cvat-backups" \
      org.opencontainers.image.description="Backs up everything on a CVAT server, on a schedule, as files that CVAT itself can restore" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/python:${PYTHON_VERSION}-slim-trixie"
# A new volume takes its owner from these folders.
RUN echo "backups:x:${UID}:${GID}::/tmp:/usr/sbin/nologin" >>/etc/passwd \
    && mkdir -p /backups /downloads /state /config \
    && chown "${UID}:${GID}" /backups /downloads /state
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /app /app
ENV PATH=/opt/venv/bin:/app:$PATH \
    LANG=C.UTF-8 \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    CVAT_BACKUP_DIR=/backups \
    CVAT_DOWNLOAD_OUTPUT_DIR=/downloads \
    CVAT_IMAGES_OUTPUT_DIR=/downloads/images \
    SC_DIR=/downloads/sc-projects \
    CVAT_STATE_DIR=/state \
    CVAT_HEALTH_HOST=0.0.0.0
WORKDIR /app
USER ${UID}:${GID}
EXPOSE 8080
HEALTHCHECK --interval=60s --timeout=30s --start-period=1h --retries=3 CMD ["python", "/app/scheduler.py", "--health"]
# The scheduler is process 1: it handles the signals and takes in orphans itself.
CMD ["python", "/app/scheduler.py"]

# --- the same with a server that plays CVAT: only for the profile "demo" ---
FROM product AS demo
COPY sandbox /app/sandbox

# --- FiftyOne, in an environment of its own (1 GB) ---
FROM base AS fiftyone-builder
RUN python -m venv --without-pip /opt/fiftyone
COPY requirements-fiftyone.txt /tmp/requirements-fiftyone.txt
# The MongoDB that FiftyOne may bring along stays behind: the profile has one.
RUN --mount=type=secret,id=ca_bundle \
    if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi; \
    python -m pip --python /opt/fiftyone/bin/python install --no-cache-dir --disable-pip-version-check \
        -r /tmp/requirements-fiftyone.txt \
    && rm -f /opt/fiftyone/lib/python*/site-packages/fiftyone/db/bin/mongod

# --- the product with FiftyOne: for the profile "fiftyone", and for IMAGE_TARGET=fiftyone ---
FROM product AS fiftyone
ARG UID=1000
ARG GID=1000
USER 0
# ffmpeg: FiftyOne asks it what a video is.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /fiftyone \
    && chown "${UID}:${GID}" /fiftyone
COPY --from=fiftyone-builder /opt/fiftyone /opt/fiftyone
ENV PATH=$PATH:/opt/fiftyone/bin \
    FIFTYONE_SYNC_PYTHON=/opt/fiftyone/bin/python \
    FIFTYONE_APP_ADDRESS=0.0.0.0 \
    FIFTYONE_DO_NOT_TRACK=true
USER ${UID}:${GID}

# --- what is built when no target is named ---
FROM product AS cvat-backups
