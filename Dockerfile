# The charging server and its simulator. Python 3.11 on Debian 12 is what the tests run on.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY protocol protocol
COPY ocs ocs
COPY simulator simulator
# ocs/defaults has links to the files there.
COPY config config
# There is no git here to tell the version: docker build --build-arg VERSION=$(git describe --tags | sed s/^v//) .
ARG VERSION=""
RUN SETUPTOOLS_SCM_PRETEND_VERSION_FOR_OCS="$VERSION" pip wheel --no-cache-dir --wheel-dir /wheels '.[tracing]'

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin ocs \
    && install -d -o ocs -g ocs -m 700 /var/lib/ocs
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'ocs[tracing]'
# `ocs` looks for config/ocs.toml in its current folder. Mount your own over it.
WORKDIR /opt/ocs
COPY config config
# Records and metrics; the ledger too, unless OCS_REDIS_URL names a Redis. The API is plain HTTP for a proxy that ends TLS;
# or set OCS_API_CERTIFICATE, OCS_API_KEY and OCS_API_PLAIN=false.
ENV OCS_SERVER_DATA_DIR=/var/lib/ocs \
    OCS_DIAMETER_LISTEN=0.0.0.0:3868 \
    OCS_API_LISTEN=0.0.0.0:8080 \
    OCS_API_PLAIN=true \
    OCS_METRICS_LISTEN=0.0.0.0:9464 \
    PYTHONUNBUFFERED=1
VOLUME /var/lib/ocs
USER ocs
EXPOSE 3868 8080 9464
# Healthy: Redis answers and a worker is up; else /health gives 503 and this ends with 1.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/health', timeout=2)"]
ENTRYPOINT ["ocs"]
CMD ["serve"]
