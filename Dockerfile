# docker build --tag harness .
# mkdir -p runs && chmod a+rwx runs
# docker run --rm --volume "$PWD/runs:/home/harness/runs" harness run --before-after
#
# The program runs as a user of its own, number 1000, who has to be able to write into the folder on the host.
# With a GPU: --build-arg EXTRA='[gpu]', and docker run --gpus all. Without one, TORCH can name torch's CPU build, which
# is several gigabytes smaller: --build-arg TORCH='--index-url ADDRESS torch>=2.9,<2.14'.
FROM python:3.12-slim

ARG TORCH="torch>=2.9,<2.14"
ARG EXTRA=""
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1

# Triton compiles its launchers on a GPU with gcc.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# hadolint ignore=DL3013,SC2086
RUN pip install $TORCH
COPY . .
# hadolint ignore=DL3013,DL3059
RUN pip install ".${EXTRA}" && useradd --uid 1000 --create-home harness

USER 1000
WORKDIR /home/harness
ENTRYPOINT ["harness"]
CMD ["run", "--before-after"]
