# The cache engine in place of the image `registry`: docs/container-image.md
#
#   docker build -t obol-registry .
#
# What it runs by itself is in the last stage; tests/packaging reads it from there for an image of its own.
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/obol \
 && /opt/obol/bin/pip install --require-hashes -r requirements.lock \
 && python -m pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/obol/bin/pip install --no-deps --no-index /dist/*.whl \
 && /opt/obol/bin/python -m pip uninstall --yes pip

FROM ${PYTHON}
COPY --from=build /opt/obol /opt/obol
# New volumes begin as this directory is. The engine becomes whoever owns it, so it is root only over a directory of root's.
RUN install -d -o 54100 -g 54100 /var/lib/registry
ENV PATH=/opt/obol/bin:/usr/local/bin:/usr/bin:/bin
ENV OBOL_CONFIG_DIR=/etc/obol
ENV OBOL_CACHE_STORE=/var/lib/registry/obol
ENV PYTHONUNBUFFERED=1
VOLUME ["/var/lib/registry"]
EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["obol", "registry", "health"]
ENTRYPOINT ["obol", "registry"]
CMD []
