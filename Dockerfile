# The worker image for Dataflow and other portable runners: Beam's own SDK image, the locked libraries, versatune's wheel as the only copy.
#   docker build -t IMAGE .                                   for a build; deploy/README.md says how to launch with it
#   docker build -t IMAGE --build-arg LOCK=gpu-worker .       for a probe: with vLLM

FROM python:3.11-slim-bookworm AS wheel
WORKDIR /source
RUN pip install --no-cache-dir hatchling==1.33.0
COPY . .
RUN python -m hatchling build -t wheel -d /dist

FROM apache/beam_python3.11_sdk:2.77.0
ARG LOCK=worker
# Where Dataflow mounts the GPU's driver; the CUDA libraries come with torch.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib64
COPY requirements/${LOCK}.txt /tmp/worker.txt
RUN pip install --no-cache-dir --no-deps --require-hashes -r /tmp/worker.txt
COPY --from=wheel /dist /tmp/dist
RUN pip install --no-cache-dir --no-deps --no-index /tmp/dist/*.whl
COPY deploy/check_image.py /tmp/check_image.py
RUN python /tmp/check_image.py && rm -r /tmp/check_image.py /tmp/dist /tmp/worker.txt
