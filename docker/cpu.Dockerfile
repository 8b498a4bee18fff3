# arraycnn on the CPU. Built from the project's root: docker build -f docker/cpu.Dockerfile .
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python3 -m venv /opt/arraycnn \
    && /opt/arraycnn/bin/pip install --no-cache-dir ".[fast,images,plot,mpi]" mpich

FROM ${BASE}
# Whoever runs it (--user) may write to the volumes, as to /tmp.
RUN useradd --uid 1000 --create-home arraycnn \
    && install -d -m 1777 /data /work /work/runs /cache
COPY --from=build /opt/arraycnn /opt/arraycnn
ENV PATH=/opt/arraycnn/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ARRAYCNN_CACHE=/data \
    ARRAYCNN_KERNELS=/cache/kernels \
    MPLCONFIGDIR=/cache/matplotlib
USER 1000
WORKDIR /work
VOLUME ["/data", "/work/runs", "/cache"]
ENTRYPOINT ["arraycnn"]
CMD ["--help"]
