# The worker on SGLang's own image.
#
#   docker build --tag worker-sglang .
#   docker build --tag worker-sglang:mine --build-arg MODEL_NAME=Qwen/Qwen3-0.6B .
#
# docker-bake.hcl names the variants, docs/deploying.md explains them. BuildKit is required (RUN --mount).
ARG BASE_IMAGE=lmsysorg/sglang:v0.5.23
FROM ${BASE_IMAGE}

LABEL org.opencontainers.image.title="worker-sglang" \
      org.opencontainers.image.description="A RunPod serverless worker for SGLang" \
      org.opencontainers.image.licenses="MIT"

# Process 1 must reap: when a process of the server loses its parent, process 1 becomes its parent. The base
# image has no init, and the platform offers none (`docker run --init`). The glob covers the rebuild suffix,
# which differs between the distributions that base images stand on.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends "tini=0.19.0-*" \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /app

# The worker has a Python environment of its own. The RunPod SDK asks for recent versions of packages that
# SGLang uses too (fastapi, protobuf, pydantic, …): installed beside SGLang, pip would change what the server
# runs on. So SGLang's packages stay as its authors tested them, whatever base is chosen, and the worker runs
# on the versions that its own tests ran on. Without pip inside, because not every base can install it; without
# PYTHONPATH, by which a base could lend its packages to it after all (-E below does the same at run time).
COPY requirements.txt ./
COPY builder/requirements-image.txt builder/
COPY local/constraints-worker.txt local/
RUN unset PYTHONPATH \
 && python3 -m venv --without-pip /opt/worker \
 && python3 -m pip --python /opt/worker/bin/python install --no-cache-dir --only-binary=:all: \
        --requirement builder/requirements-image.txt \
 && python3 -m pip --python /opt/worker/bin/python check

# Bytecode of all that the server imports: SGLang is installed in place in its image, where pip makes none, so that every
# new container would compile it (3 to 7 s of a start on an H100).
COPY builder/__init__.py builder/compile_bytecode.py builder/
RUN python3 -m builder.compile_bytecode

# Optional: weights inside the image. The token is a secret of the build, in no layer and in no variable:
#   docker build --build-arg MODEL_NAME=… --secret id=HF_TOKEN,env=HF_TOKEN .
# It comes before the code, so that a change of the code does not download the weights again.
# A tokenizer, a draft model and adapters of their own come along; their variables are the worker's own.
ARG MODEL_NAME=""
ARG MODEL_REVISION=""
# hadolint ignore=DL3064  # a tokenizer is no token
ARG TOKENIZER_PATH="" TOKENIZER_REVISION=""
ARG SPECULATIVE_DRAFT_MODEL_PATH=""
ARG SPECULATIVE_DRAFT_MODEL_REVISION=""
ARG LORA_PATHS=""
COPY builder/download_model.py builder/
COPY settings/flags/adapters.py settings/flags/
RUN --mount=type=secret,id=HF_TOKEN,required=false \
    python3 -m builder.download_model --token-file /run/secrets/HF_TOKEN \
        --tokenizer "${TOKENIZER_PATH}" --tokenizer-revision "${TOKENIZER_REVISION}" \
        --draft "${SPECULATIVE_DRAFT_MODEL_PATH}" --draft-revision "${SPECULATIVE_DRAFT_MODEL_REVISION}" \
        --adapters "${LORA_PATHS}" --revision "${MODEL_REVISION}" "${MODEL_NAME}"

# The server runs on the base image's Python, not on the worker's. An empty variable counts as unset, so an
# image without weights takes its model from the endpoint's settings.
ARG QUANTIZATION=""
ENV SGLANG_LAUNCH_COMMAND="python3 -m sglang.launch_server" \
    MODEL_NAME="${MODEL_NAME}" \
    MODEL_REVISION="${MODEL_REVISION}" \
    SPECULATIVE_DRAFT_MODEL_PATH="${SPECULATIVE_DRAFT_MODEL_PATH}" \
    SPECULATIVE_DRAFT_MODEL_REVISION="${SPECULATIVE_DRAFT_MODEL_REVISION}" \
    LORA_PATHS="${LORA_PATHS}" \
    QUANTIZATION="${QUANTIZATION}"
# hadolint ignore=DL3064
ENV TOKENIZER_PATH="${TOKENIZER_PATH}" TOKENIZER_REVISION="${TOKENIZER_REVISION}"

COPY LICENSE *.py ./
COPY builder/ builder/
COPY settings/ settings/
COPY server/ server/
COPY start/ start/
COPY job/ job/
COPY answer/ answer/
COPY lora/ lora/
COPY cluster/ cluster/
COPY front/ front/
COPY meter/ meter/
COPY clock/ clock/
COPY fit/ fit/
COPY local/ local/

# The worker checks settings against the flags of the SGLang that is in this very image: its own parser is read, and
# what differs from the snapshot that is committed for its version, or else for the default base, is shown here. Needs
# no GPU: only SGLang's argument parser is imported, no kernel library.
# The last line proves that the worker starts on what was installed, and shows its defaults in the build log.
RUN python3 -m builder.flag_snapshot --take \
 && /opt/worker/bin/python -E -m compileall -q . \
 && /opt/worker/bin/python -E handler.py --print-config

# Last, so that a new version changes no layer before it. `python -m builder.release` keeps the default as utils.py has it.
ARG VERSION=1.0.0
ARG REVISION=""
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# It stays root: network volumes and the platform's model cache under /runpod-volume belong to root, and the
# server must be able to write there. Only in HTTP mode the worker listens outside the container, on a port that the
# endpoint names, hence no EXPOSE; the platform asks the worker itself for its health, hence no HEALTHCHECK.
HEALTHCHECK NONE

# Without -g: SIGTERM goes to the worker alone, which lets its jobs end before it stops the server. SGLang
# takes a SIGTERM to the whole group for a crash.
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["/opt/worker/bin/python", "-E", "-u", "handler.py"]
