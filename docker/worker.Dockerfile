# A worker: `radiata worker` draws, `radiata worker --intake` inspects uploads.
# docker build -f docker/worker.Dockerfile [--build-arg TORCH_VARIANT=cuda] [--build-arg TORCH_INDEX_URL=…] .
FROM python:3.11-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/radiata
# cpu or cuda. For x86-64, PyPI's torch is the CUDA build: gigabytes, and it runs on a CPU too. TORCH_INDEX_URL adds an
# index: PyTorch's own for CPU builds makes a small image, its others are for other CUDA versions
ARG TORCH_VARIANT=cpu
ARG TORCH_INDEX_URL=""
# Without the packages the project installs as its dependencies alone: a layer that new code leaves as it is
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/radiata/bin/pip install '.[worker]' -c constraints.txt ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"}
COPY docker/torch_variant.py docker/
RUN /opt/radiata/bin/python docker/torch_variant.py "$TORCH_VARIANT"
COPY lycoris lycoris
COPY workers workers
COPY app app
COPY radiata_client radiata_client
RUN --mount=type=cache,target=/root/.cache/pip /opt/radiata/bin/pip install --force-reinstall --no-deps .

FROM python:3.11-slim-trixie
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin radiata \
    && install -d -o 10001 -g 10001 /var/cache/radiata
COPY --from=build /opt/radiata /opt/radiata
COPY docker/worker_health.py /opt/radiata/
# Models named by hub id (HF_HOME) and adapter files (the disk cache, in RADIATA_DATA_DIR) are kept where a volume may
# be; RADIATA_MODELS may also name mounted folders
ENV PATH=/opt/radiata/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/var/cache/radiata \
    RADIATA_DATA_DIR=/var/cache/radiata
USER 10001:10001
WORKDIR /tmp
HEALTHCHECK --interval=5s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "/opt/radiata/worker_health.py"]
CMD ["radiata", "worker"]
