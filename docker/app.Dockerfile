# The API: no torch, no model. docker build -f docker/app.Dockerfile .
# It listens on every address of its container, and so starts only with RADIATA_OPEN=1: whoever runs it says with it that
# they know who reaches it (docker run -p 127.0.0.1:8000:8000 publishes to this machine alone, -p 8000:8000 to all)
FROM python:3.11-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/radiata
# Without the packages the project installs as its dependencies alone: a layer that new code leaves as it is
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/pip /opt/radiata/bin/pip install '.[mcp]' -c constraints.txt
COPY lycoris lycoris
COPY workers workers
COPY app app
COPY radiata_client radiata_client
RUN --mount=type=cache,target=/root/.cache/pip /opt/radiata/bin/pip install --force-reinstall --no-deps .

FROM python:3.11-slim-trixie
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin radiata
COPY --from=build /opt/radiata /opt/radiata
ENV PATH=/opt/radiata/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RADIATA_HOST=0.0.0.0 \
    RADIATA_PORT=8000
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"RADIATA_PORT\"]}/healthz', timeout=4)"]
CMD ["radiata", "api"]
