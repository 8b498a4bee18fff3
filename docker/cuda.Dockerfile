# arraycnn on an NVIDIA GPU. Built from the project's root: docker build -f docker/cuda.Dockerfile .
# The extra brings CuPy, CUDA's compiler and headers, and the container runtime the driver: so the base
# needs none. Any image with Python 3.11 or newer, its venv module and glibc will do.
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
# 13, or 12 for a driver older than 580.
ARG CUDA=13
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python3 -m venv /opt/arraycnn \
    && /opt/arraycnn/bin/pip install --no-cache-dir ".[cuda${CUDA},fast,images,plot]"

FROM ${BASE}
# Whoever runs it (--user) may write to the volumes, as to /tmp.
RUN useradd --uid 1000 --create-home arraycnn \
    && install -d -m 1777 /data /work /work/runs /cache
COPY --from=build /opt/arraycnn /opt/arraycnn
ENV PATH=/opt/arraycnn/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    ARRAYCNN_CACHE=/data \
    CUPY_CACHE_DIR=/cache/cupy \
    CUDA_CACHE_PATH=/cache/cuda \
    ARRAYCNN_KERNELS=/cache/kernels \
    MPLCONFIGDIR=/cache/matplotlib
USER 1000
WORKDIR /work
VOLUME ["/data", "/work/runs", "/cache"]
ENTRYPOINT ["arraycnn"]
CMD ["--help"]
